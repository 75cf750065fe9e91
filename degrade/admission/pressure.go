package admission

import "time"

// ClassTime is the service time of one class of requests, measured on those
// that started while few ran.
type ClassTime struct {
	Mean  time.Duration
	Count float64       // requests behind it; fades, at most 200
	Age   time.Duration // since the last of them
}

// Pressure is what a process reports to the fleet about its load; see
// Controller.Pressure.
type Pressure struct {
	// Sequence grows by one with each call of Pressure.
	Sequence uint64
	Time     time.Time
	// Arrivals is the rate of requests, refused ones included, per second.
	Arrivals float64
	// Unsheddable is the service time of requests that evaluate no flag that is
	// ever shed, and UnsheddableShare their share in all requests, 0 to 1.
	Unsheddable      ClassTime
	UnsheddableShare float64
	// Places is how many requests are busy at capacity; 0 while unknown.
	Places float64
	// Classes[j] is the service time with j tiers of features shed for the user.
	Classes [maxTiers]ClassTime
	// Waiting is the share of the time in which requests waited, and Refused the
	// share of requests that were refused, both since the last call, 0 to 1.
	Waiting, Refused float64
	// Saturated says that requests wait for most of the time.
	Saturated bool
	// Alarms counts the jumps in the rate of arrivals so far.
	Alarms uint64
}
