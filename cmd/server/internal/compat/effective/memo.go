package effective

import "sync"

// memo keeps what faces derive from a state or document: as long as that lives,
// and no longer.
type memo struct{ by sync.Map }

func memoOf[T any](m *memo, owner T, key any, derive func(T) any) any {
	if known, ok := m.by.Load(key); ok {
		return known.(func() any)()
	}
	once := sync.OnceValue(func() any { return derive(owner) })
	known, _ := m.by.LoadOrStore(key, once)
	return known.(func() any)()
}

// Memo is what derive makes of the state when it is first asked for under the key,
// which has a type of the caller's own.
func (s *State) Memo(key any, derive func(*State) any) any { return memoOf(&s.memo, s, key, derive) }

// Memo is what derive makes of the document when it is first asked for under the
// key, which has a type of the caller's own.
func (d *Document) Memo(key any, derive func(*Document) any) any {
	return memoOf(&d.memo, d, key, derive)
}
