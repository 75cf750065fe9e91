package effective

// AutomaticSince tells whether all that has happened since an earlier state is
// that a policy moved the level. Clients may be told of that one after another.
func (s *State) AutomaticSince(earlier *State) bool { return automatic(earlier, s) }
