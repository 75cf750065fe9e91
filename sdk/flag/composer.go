package flag

// Composer writes successive sets out as [Set.ComposeAll] does. It keeps the text of
// every flag, so that what sets have in common is composed once; a set that differs
// in one flag takes as long as copying the texts does. The zero value is ready for
// use. It is not safe for concurrent use.
type Composer struct {
	set   *Set // whose texts are kept; nil at first
	texts map[string]string
	keys  []string // sorted
}

// ComposeAll is the set's ComposeAll. Any set may follow on any other.
func (c *Composer) ComposeAll(s *Set) (document string) {
	if c.set == nil {
		c.set, c.texts = Empty(), make(map[string]string, s.Len())
	}
	moved := false
	s.flags.diff(c.set.flags, func(key string, then, now **served) {
		moved = moved || then == nil || now == nil
		switch {
		case now == nil:
			delete(c.texts, key)
		case then == nil || *then != *now:
			c.texts[key] = string(s.appendFlag(nil, *now))
		}
	})
	if s.view != c.set.view { // of the flags only those can tell that may be shed
		for key, f := range s.flags.all() {
			if f.def.degradation != nil {
				c.texts[key] = string(s.appendFlag(nil, f))
			}
		}
	}
	c.set = s
	if moved {
		c.keys = sortedKeys(c.texts)
	}
	size := 0
	for key, text := range c.texts {
		size += len(key) + len(text) + len(`"":,`)
	}
	b := append(make([]byte, 0, size+len(s.settings.Metadata)+len(`{"flags":{},"metadata":}`)), `{"flags":{`...)
	for i, key := range c.keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(appendQuoted(b, key), ':'), c.texts[key]...)
	}
	return string(s.appendSetMetadata(append(b, '}')))
}
