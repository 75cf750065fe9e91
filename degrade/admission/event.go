package admission

import "time"

// EventKind says what happened.
type EventKind int

const (
	// KneeFound: the first batch of evidence for the service time is in.
	KneeFound EventKind = iota
	// Probe: the limit is lowered for a moment, to measure the service time.
	Probe
	// Saturated: requests wait for most of the time now.
	Saturated
	// Relieved: they no longer do.
	Relieved
	// Jump: the service time has changed more than twofold.
	Jump
	// Trial: the limit was doubled for a moment, to see if throughput rises.
	Trial
)

// String is the kind as logs name it.
func (k EventKind) String() string {
	names := [...]string{"knee_found", "probe", "saturated", "relieved", "jump", "trial"}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// An Event is one thing that the controller found out or did.
type Event struct {
	Kind        EventKind
	Time        time.Time
	Limit       float64       // places that are admitted
	Knee        float64       // places that are busy at capacity; 0 while unknown
	ServiceTime time.Duration // uncongested, the mean of all requests
}
