package flag

// Reason says why a value was served.
type Reason string

// The reasons.
const (
	// ReasonStatic: there is no targeting, so everybody gets the same.
	ReasonStatic Reason = "STATIC"
	// ReasonDefault: targeting left it open, or there is no default variant.
	ReasonDefault Reason = "DEFAULT"
	// ReasonTargetingMatch: targeting chose the variant.
	ReasonTargetingMatch Reason = "TARGETING_MATCH"
	// ReasonDisabled: the flag is disabled; callers use their own default.
	ReasonDisabled Reason = "DISABLED"
	// ReasonDegraded: the flag is shed by the level, or by an open guard.
	ReasonDegraded Reason = "DEGRADED"
	// ReasonOverride: an operator pinned the flag to the variant.
	ReasonOverride Reason = "OVERRIDE"
	// ReasonError: the error code says what went wrong.
	ReasonError Reason = "ERROR"
)

// ErrorCode is what went wrong; "" for nothing.
type ErrorCode string

// The error codes.
const (
	// FlagNotFound: there is no such flag.
	FlagNotFound ErrorCode = "FLAG_NOT_FOUND"
	// TypeMismatch: the flag is of another type than was asked for.
	TypeMismatch ErrorCode = "TYPE_MISMATCH"
	// ParseError: the flag or its targeting cannot be evaluated.
	ParseError ErrorCode = "PARSE_ERROR"
	// General: targeting yielded a name that is no variant.
	General ErrorCode = "GENERAL"
)

// Result is the answer to one evaluation. Metadata, and the value of an object,
// are shared with other answers and must not be changed.
type Result[T any] struct {
	// Value is the variant's value when HasValue, else the caller's default.
	Value     T
	Variant   string
	Reason    Reason
	ErrorCode ErrorCode
	Message   string
	Metadata  map[string]any
	HasValue  bool
}

// failure is why there is no answer.
type failure struct {
	code    ErrorCode
	message string
}

// Bool evaluates a bool flag. It allocates nothing, takes no lock and never
// panics, like all evaluations of scalars.
func (s *Set) Bool(key string, fallback bool, ctx map[string]any) (r Result[bool]) {
	a := s.answer(key, ctx)
	r.Reason, r.Metadata = deciders[a.reason], a.metadata
	if a.variant == nil {
		r.Value = fallback
		r.fail(a.failed)
		s.countUnserved(key, a.reason)
		return r
	}
	v, ok := a.variant.value.(bool)
	if !ok {
		r.Value = fallback
		r.fail(mismatch(a.variant, Bool))
		s.countUnserved(key, byError)
		return r
	}
	s.countServed(key, a.variant, a.reason)
	r.Value, r.Variant, r.HasValue = v, a.variant.name, true
	return r
}

// String evaluates a string flag.
func (s *Set) String(key string, fallback string, ctx map[string]any) (r Result[string]) {
	a := s.answer(key, ctx)
	r.Reason, r.Metadata = deciders[a.reason], a.metadata
	if a.variant == nil {
		r.Value = fallback
		r.fail(a.failed)
		s.countUnserved(key, a.reason)
		return r
	}
	v, ok := a.variant.value.(string)
	if !ok {
		r.Value = fallback
		r.fail(mismatch(a.variant, String))
		s.countUnserved(key, byError)
		return r
	}
	s.countServed(key, a.variant, a.reason)
	r.Value, r.Variant, r.HasValue = v, a.variant.name, true
	return r
}

// Float evaluates a number flag.
func (s *Set) Float(key string, fallback float64, ctx map[string]any) (r Result[float64]) {
	a := s.answer(key, ctx)
	r.Reason, r.Metadata = deciders[a.reason], a.metadata
	if a.variant == nil {
		r.Value = fallback
		r.fail(a.failed)
		s.countUnserved(key, a.reason)
		return r
	}
	v, ok := a.variant.value.(float64)
	if !ok {
		r.Value = fallback
		r.fail(mismatch(a.variant, Number))
		s.countUnserved(key, byError)
		return r
	}
	s.countServed(key, a.variant, a.reason)
	r.Value, r.Variant, r.HasValue = v, a.variant.name, true
	return r
}

// Int evaluates a number flag; a fraction is cut off.
func (s *Set) Int(key string, fallback int64, ctx map[string]any) (r Result[int64]) {
	a := s.answer(key, ctx)
	r.Reason, r.Metadata = deciders[a.reason], a.metadata
	if a.variant == nil {
		r.Value = fallback
		r.fail(a.failed)
		s.countUnserved(key, a.reason)
		return r
	}
	v, ok := a.variant.value.(float64)
	if !ok {
		r.Value = fallback
		r.fail(mismatch(a.variant, Number))
		s.countUnserved(key, byError)
		return r
	}
	s.countServed(key, a.variant, a.reason)
	r.Value, r.Variant, r.HasValue = int64(v), a.variant.name, true
	return r
}

// Object evaluates an object flag. The value is a map[string]any that is shared
// and must not be changed.
func (s *Set) Object(key string, fallback any, ctx map[string]any) (r Result[any]) {
	a := s.answer(key, ctx)
	r.Reason, r.Metadata = deciders[a.reason], a.metadata
	if a.variant == nil {
		r.Value = fallback
		r.fail(a.failed)
		s.countUnserved(key, a.reason)
		return r
	}
	if _, ok := a.variant.value.(map[string]any); !ok {
		r.Value = fallback
		r.fail(mismatch(a.variant, Object))
		s.countUnserved(key, byError)
		return r
	}
	s.countServed(key, a.variant, a.reason)
	r.Value, r.Variant, r.HasValue = a.variant.value, a.variant.name, true
	return r
}

// Any evaluates a flag of whatever type: the value is a bool, a string, a
// float64 or a map[string]any, nil without one.
func (s *Set) Any(key string, ctx map[string]any) (r Result[any]) {
	a := s.answer(key, ctx)
	r.Reason, r.Metadata = deciders[a.reason], a.metadata
	if a.variant == nil {
		r.fail(a.failed)
		s.countUnserved(key, a.reason)
		return r
	}
	s.countServed(key, a.variant, a.reason)
	r.Value, r.Variant, r.HasValue = a.variant.value, a.variant.name, true
	return r
}

// fail notes why there is no value; nil leaves the reason as it is.
func (r *Result[T]) fail(f *failure) {
	if f != nil {
		r.Reason, r.ErrorCode, r.Message = ReasonError, f.code, f.message
	}
}

func mismatch(v *variant, want Type) *failure {
	return &failure{TypeMismatch, "the flag serves " + v.json + ", which is not a " + want.String()}
}
