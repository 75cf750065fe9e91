package flag

// Place is a flag that was looked up before, or the fact that there is none. It
// holds for the set that it was found in, and for those that come from it by
// Tagged, Counted, WithClock and WithKeylessDraw alone.
type Place struct {
	key string
	f   *served // nil: not found
}

// Find looks a flag up, for evaluations that need its value alone and are not
// to look it up each time.
func (s *Set) Find(key string) Place {
	f, _ := s.flags.get(key)
	return Place{key, f}
}

func (s *Set) answerAt(p Place, ctx map[string]any) answer {
	if p.f == nil {
		return s.notServed(p.key)
	}
	return s.decide(p.f, ctx)
}

// BoolAt is the value of Bool.
func (s *Set) BoolAt(p Place, fallback bool, ctx map[string]any) bool {
	a := s.answerAt(p, ctx)
	if a.variant != nil {
		if v, ok := a.variant.value.(bool); ok {
			s.countServed(p.key, a.variant, a.reason)
			return v
		}
		a.reason = byError
	}
	s.countUnserved(p.key, a.reason)
	return fallback
}

// StringAt is the value of String.
func (s *Set) StringAt(p Place, fallback string, ctx map[string]any) string {
	a := s.answerAt(p, ctx)
	if a.variant != nil {
		if v, ok := a.variant.value.(string); ok {
			s.countServed(p.key, a.variant, a.reason)
			return v
		}
		a.reason = byError
	}
	s.countUnserved(p.key, a.reason)
	return fallback
}

// FloatAt is the value of Float.
func (s *Set) FloatAt(p Place, fallback float64, ctx map[string]any) float64 {
	a := s.answerAt(p, ctx)
	if a.variant != nil {
		if v, ok := a.variant.value.(float64); ok {
			s.countServed(p.key, a.variant, a.reason)
			return v
		}
		a.reason = byError
	}
	s.countUnserved(p.key, a.reason)
	return fallback
}

// IntAt is the value of Int.
func (s *Set) IntAt(p Place, fallback int64, ctx map[string]any) int64 {
	a := s.answerAt(p, ctx)
	if a.variant != nil {
		if v, ok := a.variant.value.(float64); ok {
			s.countServed(p.key, a.variant, a.reason)
			return int64(v)
		}
		a.reason = byError
	}
	s.countUnserved(p.key, a.reason)
	return fallback
}

// ObjectAt is the value of Object, which is shared and must not be changed.
func (s *Set) ObjectAt(p Place, fallback any, ctx map[string]any) any {
	a := s.answerAt(p, ctx)
	if a.variant != nil {
		if v, ok := a.variant.value.(map[string]any); ok {
			s.countServed(p.key, a.variant, a.reason)
			return v
		}
		a.reason = byError
	}
	s.countUnserved(p.key, a.reason)
	return fallback
}
