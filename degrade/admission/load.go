package admission

type load struct{ refused uint64 }

func (l *load) arrived(int)                               {}
func (l *load) done(float64, *slot, ending, float64)      {}
func (l *load) window(now, t float64, saturated, probed bool) {}
