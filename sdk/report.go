package sdk

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/follow"
)

const (
	// reportEvery is the longest time between two reports; each time it is up to
	// a fifth shorter, so that a fleet that was started together does not report
	// together.
	reportEvery = 10 * time.Second
	// ackWithin is within what time a change by hand is acknowledged.
	ackWithin = 300 * time.Millisecond
	// reportTimeout bounds one report, leaveTimeout the last one.
	reportTimeout = 3 * time.Second
	leaveTimeout  = time.Second
	// retryReport is after how long, at most, a report that failed is sent again.
	retryReport = 2 * time.Second
	// maxReportFlags is how many flags one report has.
	maxReportFlags = 5000
	// maxOutcomes is how many outcomes of one flag are told apart, with room for
	// one of each reason beyond; maxVariantName is the longest name of a variant
	// that is told, in bytes.
	maxOutcomes    = 900
	maxVariantName = 1024
	otherVariants  = "(other)"
	// maxReportPause bounds how long a server may ask to be left alone.
	maxReportPause = time.Minute
)

// applied is the state that was applied last.
type applied struct {
	position *plimsollv1.Position // nil: none
	at       time.Time
	source   plimsollv1.FlagSource
}

// reporter tells the server that is watched what the process has applied and
// evaluated. Nothing of it is on the path of an evaluation.
type reporter struct {
	namespace string
	client    *plimsollv1.ClientInfo
	log       *slog.Logger
	jitter    func(time.Duration) time.Duration
	counts    *flag.Counts
	tracked   *tracked
	// newest is the set that is served; nil before there is one.
	newest func() *flag.Set
	// overrides is how many flags the process's environment overrides.
	overrides func() int

	// wake has room for one: something is to be reported soon.
	wake chan struct{}

	mu      sync.Mutex
	applied applied
	server  *follow.Endpoint // that is watched now; nil: none

	// What follows belongs to run.

	seq     uint64
	counted time.Time // when counts were taken last
	// evaluations and tracks were taken and wait to be sent.
	evaluations []*plimsollv1.EvaluationCounts
	events      []*plimsollv1.TrackedEvent
	interval    time.Duration
	// unsent is a report that may or may not have reached the server: it is
	// sent again as it was, so that its counts count once.
	unsent *plimsollv1.ReportRequest
	failed error // of the last report, as it was logged
	// quietAt is the server that asked last to be left alone, until quiet.
	quietAt *follow.Endpoint
	quiet   time.Time
}

// errQuiet is why nothing is reported: the server asked to be left alone.
var errQuiet = errors.New("the server takes no reports for a while")

// observe notes what the process has applied. A change that was made by hand is
// acknowledged soon; a level that moved by itself rides on the next report.
func (r *reporter) observe(c follow.Change) {
	if c.New.Set == nil {
		return
	}
	moved := c.Old.Set == nil || c.Old.Store != c.New.Store ||
		c.Old.Set.Epoch() != c.New.Set.Epoch() || c.Old.Set.Revision() != c.New.Set.Revision() || c.Old.Set.Fingerprint() != c.New.Set.Fingerprint()
	r.mu.Lock()
	if moved {
		r.applied.at = time.Now()
		r.applied.position = &plimsollv1.Position{StoreId: c.New.Store, Epoch: c.New.Set.Epoch(), Revision: c.New.Set.Revision(), Fingerprint: c.New.Set.Fingerprint()}
	}
	r.applied.source = sourceOf(c.New)
	r.mu.Unlock()
	if moved && !(c.LevelOnly && byItself(c.Old.Set.LevelState(), c.New.Set.LevelState())) {
		signal(r.wake)
	}
}

// byItself tells whether nothing but the level that policies want has changed.
func byItself(before, after degrade.LevelState) bool {
	return before.Auto != after.Auto && reflect.DeepEqual(before.Holds, after.Holds)
}

// sourceOf says where a state comes from, as servers are told.
func sourceOf(s follow.State) plimsollv1.FlagSource {
	switch s.Source {
	case follow.Memory:
		return plimsollv1.FlagSource_FLAG_SOURCE_MEMORY
	case follow.Cache:
		return plimsollv1.FlagSource_FLAG_SOURCE_CACHE
	case follow.Bootstrap:
		return plimsollv1.FlagSource_FLAG_SOURCE_BOOTSTRAP
	default:
		return plimsollv1.FlagSource_FLAG_SOURCE_STREAM
	}
}

// watches notes which server is watched; nil: none.
func (r *reporter) watches(server *follow.Endpoint) {
	r.mu.Lock()
	r.server = server
	r.mu.Unlock()
	if server != nil {
		signal(r.wake) // it does not know this process yet
	}
}

// run reports until the context ends, and then takes its leave.
func (r *reporter) run(ctx context.Context) {
	r.counted = time.Now()
	regular := time.NewTimer(r.pause())
	defer regular.Stop()
	soon := time.NewTimer(0)
	soon.Stop()
	defer soon.Stop()
	waits := false // for soon
	for {
		var err error
		select {
		case <-ctx.Done():
			r.leave()
			return
		case <-r.wake:
			if !waits {
				waits = true
				soon.Reset(r.jitter(ackWithin))
			}
			continue
		case <-soon.C:
			waits = false
			err = r.report(ctx, false)
		case <-regular.C:
			regular.Reset(r.pause())
			r.collect()
			err = r.report(ctx, false)
		}
		if err != nil && !waits && ctx.Err() == nil {
			waits = true
			soon.Reset(retryReport/2 + r.jitter(retryReport/2))
		}
	}
}

func (r *reporter) pause() time.Duration { return reportEvery - r.jitter(reportEvery/5) }

// leave sends what is left to tell.
func (r *reporter) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	r.collect()
	_ = r.report(ctx, true) // who does not hear of it misses the reports to come
}

// collect takes what was counted. It leaves it where it is while older counts
// still wait to be sent, so that what waits is bounded by what can be counted.
func (r *reporter) collect() {
	set := r.newest()
	if set == nil || len(r.evaluations)+len(r.events) > 0 {
		return
	}
	now := time.Now()
	r.interval, r.counted = now.Sub(r.counted), now
	byKey := map[string]*plimsollv1.EvaluationCounts{}
	r.counts.Collect(set, func(c flag.Count) {
		e := byKey[c.Key]
		if e == nil {
			e = &plimsollv1.EvaluationCounts{FlagKey: c.Key}
			byKey[c.Key] = e
			r.evaluations = append(r.evaluations, e)
		}
		addOutcome(e, c)
	})
	r.events = r.tracked.take()
}

// addOutcome adds a count, within what a server takes: variants whose name is too
// long, or that are too many, are counted together.
func addOutcome(e *plimsollv1.EvaluationCounts, c flag.Count) {
	if len(c.Variant) > maxVariantName || len(e.Outcomes) >= maxOutcomes {
		c.Variant = otherVariants
		for _, o := range slices.Backward(e.Outcomes) { // those of too many come last
			if o.Variant == otherVariants && o.Reason == string(c.Reason) {
				o.Count += c.N
				return
			}
		}
	}
	e.Outcomes = append(e.Outcomes, &plimsollv1.OutcomeCount{Variant: c.Variant, Reason: string(c.Reason), Count: c.N})
}

// report tells everything there is to tell, in as many requests as it takes. It
// does nothing while no server is watched, or one that asked to be left alone.
func (r *reporter) report(ctx context.Context, leaving bool) error {
	for {
		server, request := r.next(leaving)
		if server == nil {
			return nil
		}
		if server == r.quietAt && time.Now().Before(r.quiet) {
			return errQuiet
		}
		if err := r.send(ctx, server, request); err != nil {
			return err
		}
		if len(r.evaluations)+len(r.events) == 0 {
			return nil
		}
	}
}

// retryAfter is how long a server that refused a report asks to be left alone.
func retryAfter(err error) time.Duration {
	var refused *connect.Error
	if !errors.As(err, &refused) {
		return 0
	}
	seconds, err := strconv.ParseFloat(refused.Meta().Get("Plimsoll-Retry-After"), 64)
	if err != nil || seconds <= 0 {
		return 0
	}
	return time.Duration(min(seconds, maxReportPause.Seconds()) * float64(time.Second))
}

// next is the next request, and where to send it.
func (r *reporter) next(leaving bool) (*follow.Endpoint, *plimsollv1.ReportRequest) {
	r.mu.Lock()
	applied, server := r.applied, r.server
	r.mu.Unlock()
	if server == nil {
		return nil, nil
	}
	request := r.unsent
	if request == nil {
		r.seq++
		request = &plimsollv1.ReportRequest{Namespace: r.namespace, Client: r.client, Seq: r.seq}
		n := min(len(r.evaluations), maxReportFlags)
		request.Evaluations, r.evaluations = r.evaluations[:n:n], r.evaluations[n:]
		request.Tracked, r.events = r.events, nil
		if len(request.Evaluations)+len(request.Tracked) > 0 {
			request.Interval = durationpb.New(r.interval)
		}
		r.unsent = request
	}
	request.Applied, request.Source = applied.position, applied.source
	request.AppliedAge = nil
	if applied.position != nil {
		request.AppliedAge = durationpb.New(max(0, time.Since(applied.at)))
	}
	request.LocalOverrides = uint32(r.overrides())
	// Not before the last of several.
	request.Leaving = leaving && len(r.evaluations)+len(r.events) == 0
	return server, request
}

func (r *reporter) send(ctx context.Context, server *follow.Endpoint, request *plimsollv1.ReportRequest) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	_, err := server.Client.Report(ctx, connect.NewRequest(request))
	switch connect.CodeOf(err) {
	case connect.CodeUnimplemented:
		// A server of an older version: there is nobody to tell.
		err = nil
	case connect.CodeInvalidArgument:
		// It would be refused again. What the process has applied matters more
		// than its counts.
		r.note(server, err)
		if len(request.Evaluations)+len(request.Tracked) > 0 {
			request.Evaluations, request.Tracked, request.Interval = nil, nil, nil
			return r.send(ctx, server, request)
		}
		r.unsent = nil
		return nil
	}
	if err != nil {
		r.note(server, err)
		if wait := retryAfter(err); wait > 0 {
			r.quietAt, r.quiet = server, time.Now().Add(wait+r.jitter(wait/2))
			return errQuiet
		}
		return err
	}
	r.unsent, r.failed = nil, nil
	return nil
}

// note logs why a report failed, once in a row.
func (r *reporter) note(server *follow.Endpoint, err error) {
	if r.failed != nil && connect.CodeOf(r.failed) == connect.CodeOf(err) {
		return
	}
	r.failed = err
	if errors.Is(err, context.Canceled) {
		return
	}
	level := slog.LevelDebug // the stream's end says the same
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded:
	default:
		level = slog.LevelWarn
	}
	r.log.Log(context.Background(), level, "a report to the server failed: it does not show this process as up to date", "server", server.URL, "err", err)
}
