// Package admission decides which requests a process serves while it is
// saturated. It finds the number of requests that the process can work on at
// once, admits the most important of those that come, lets a few wait, and
// refuses the rest at once and cheaply. An unsaturated process refuses nothing.
// There is nothing to tune, and it works alone, without any server.
//
// A [Controller] is the decision: [Controller.Acquire] a place, do the work,
// [Permit.Release] it. The middleware in this package and in connectadmission
// and grpcadmission does that around handlers. [Controller.Snapshot] is for a
// status page, [Controller.Pressure] for the fleet, [RegisterMetrics] for
// OpenTelemetry.
//
// How it works: by Little's law, throughput times uncongested service time is
// the number of places that are really busy, the knee. Twice the knee is
// admitted. That is a fixed point: below the knee all that is admitted is busy,
// so the limit grows; above it the knee stays where it is. The service time is
// measured only while few requests run, by tier, and short dips of the limit make
// such moments under permanent overload; now and then the limit is doubled for a
// while, to find out whether that was measured too low. In front of the limit is a queue in strict
// order of tier, in which a more important request displaces a less important
// one, and within a tier that of a lucky user one of an unlucky user.
package admission

import (
	"errors"
	"fmt"
	"time"
)

// A Request is what Acquire needs to know about a request.
type Request struct {
	// Tier is the request's rank: 0 is the most important. A rank below the
	// last tier counts as the last, a negative one as 0.
	Tier int
	// Caller is whose request it is, such as a user's id. While a tier is shed in
	// part, the requests of one caller have the same luck, for an hour, in every
	// process. The more of the tier is shed, the more that decides: while nearly all
	// of it is, most callers are refused wholly and the luckiest share what there is;
	// while half of it or less is, every caller has some requests refused. Without a caller
	// each request has its own luck.
	Caller string
	// Class is how many tiers of features were shed for this request's user,
	// 0 to 7; it only sorts the service times that Pressure reports.
	Class int
	// Unsheddable says that the request evaluates no flag that is ever shed;
	// Class is ignored then.
	Unsheddable bool
}

// Outcome says how a request that was admitted ended.
type Outcome int

const (
	// Served is a request that took the time it takes.
	Served Outcome = iota
	// Failed is one that ended before it took the time it takes, in an error or a
	// panic. Its duration is kept out of the evidence for the service time: a
	// handler that fails at once would make the process look fast. One that fails
	// late, such as by a time-out after the usual time and more, has kept its place
	// busy for as long: it is Served.
	Failed
)

// Reason says why a request was refused.
type Reason int

const (
	// QueueFull means that every place is taken and no less important request waits.
	QueueFull Reason = iota
	// Displaced means that a more important request took its turn to wait.
	Displaced
	// Expired means that it waited as long as waiting makes sense.
	Expired
	// Deadline means that it could not have been answered before its deadline.
	Deadline
)

// String is the reason as logs and metrics name it.
func (r Reason) String() string {
	switch r {
	case QueueFull:
		return "queue_full"
	case Displaced:
		return "displaced"
	case Expired:
		return "expired"
	case Deadline:
		return "deadline"
	}
	return fmt.Sprintf("reason_%d", int(r))
}

// ErrRefused is what every refusal is, for errors.Is.
var ErrRefused = errors.New("refused: the process is saturated")

// A RefusedError is the refusal of one request. It is shared between requests
// and must not be changed.
type RefusedError struct {
	Tier     int // rank
	TierName string
	Reason   Reason
	// RetryAfter is how long to wait before another attempt is worth it, to be
	// jittered by who waits.
	RetryAfter time.Duration
}

// Error says what was refused, why, and what to do.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("refused: the process is saturated and serves more important requests than tier %q (%s); retry after %s",
		e.TierName, e.Reason, e.RetryAfter)
}

// Unwrap makes errors.Is(err, ErrRefused) true.
func (e *RefusedError) Unwrap() error { return ErrRefused }
