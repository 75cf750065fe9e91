package fleet

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/plimsoll-dev/plimsoll/cmd/server/internal/api"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// position is a plimsollv1.Position to compare and to keep; one without a store
// is none.
type position struct {
	store    string
	epoch    uint64
	revision int64
	// fingerprint tells histories apart that have the same numbers; 0: not known.
	fingerprint uint64
}

func positionOf(p *plimsollv1.Position) position {
	if p.GetStoreId() == "" {
		return position{}
	}
	return position{p.GetStoreId(), p.GetEpoch(), p.GetRevision(), p.GetFingerprint()}
}

func (p position) message() *plimsollv1.Position {
	if p.store == "" {
		return nil
	}
	return &plimsollv1.Position{StoreId: p.store, Epoch: p.epoch, Revision: p.revision, Fingerprint: p.fingerprint}
}

// reaches tells whether whoever is at p has applied target. Positions of
// different stores do not compare.
func (p position) reaches(target position) bool {
	if p.store == "" || p.store != target.store {
		return false
	}
	if p.epoch != target.epoch {
		return p.epoch > target.epoch
	}
	if p.revision == target.revision {
		return p.fingerprint == target.fingerprint || p.fingerprint == 0 || target.fingerprint == 0
	}
	return p.revision > target.revision
}

// at is p at a revision of its own history.
func (p position) at(revision int64) position {
	if p.revision != revision {
		p.revision, p.fingerprint = revision, 0
	}
	return p
}

// lags tells whether whoever is at p has yet to apply target. head is the
// highest position that there is: who claims a higher one has something else.
func (p position) lags(target, head position) bool {
	return !p.reaches(target) || head.store == p.store && !head.reaches(p)
}

// keptApplications is how many positions of a process are remembered: enough to
// tell when a revision was applied that others have followed since.
const keptApplications = 8

// process is one process that reports to this server.
type process struct {
	client *plimsollv1.ClientInfo
	// seq is the number of the last new report, 0: none yet; reportedAt the time
	// of the last report, new or not, or of the last stream's beginning.
	seq        uint64
	reportedAt time.Time
	// knownSince is when this server first heard of it.
	knownSince time.Time
	// left is set by its last report. The process is remembered for a while, as
	// a report before that may be late.
	left      bool
	source    plimsollv1.FlagSource
	overrides uint32

	// applications is a ring of the positions it has applied, the newest at
	// (applied - 1) modulo its length.
	applications [keptApplications]application
	applied      int
	// since is what it had when it opened a stream; it counts until the process
	// reports what it has applied.
	since position
}

// application is one position applied by a process, and when.
type application struct {
	position position
	at       time.Time
}

// last is what the process has applied; the zero application: nothing yet. One
// without a time was applied at a time that is not known.
func (p *process) last() application {
	if p.applied == 0 {
		return application{position: p.since}
	}
	return p.applications[(p.applied-1)%keptApplications]
}

func (p *process) live(now time.Time) bool { return !p.left && now.Sub(p.reportedAt) <= liveFor }

// apply notes what the process says it has applied, and reports whether that is
// news.
func (p *process) apply(to position, at time.Time) bool {
	last := p.last()
	if to.store == "" || p.applied > 0 && to == last.position {
		return false
	}
	if at.Before(last.at) {
		at = last.at // it cannot have applied this before what it had before
	}
	p.applications[p.applied%keptApplications] = application{to, at}
	p.applied++
	return true
}

// reachedAt is when the process first had applied target; ok is false if it has
// not, or if that cannot be known.
func (p *process) reachedAt(target position) (at time.Time, ok bool) {
	for i := p.applied - 1; i >= 0; i-- {
		if i < p.applied-keptApplications {
			return at, false // it was before what is remembered
		}
		a := p.applications[i%keptApplications]
		if !a.position.reaches(target) {
			break
		}
		at, ok = a.at, true
	}
	return at, ok
}

// What becomes of a report.
const (
	resultCounted  = "counted"
	resultRepeated = "repeated"
	resultLeft     = "left"
	resultRefused  = "refused"
)

// admission is what became of a report.
type admission struct {
	result string
	// fresh: its counts are new.
	fresh bool
	// after is how long after its arrival here a revision was applied; negative:
	// no news, or not known.
	after time.Duration
}

// maxAge bounds how long ago a process may claim to have applied something.
const maxAge = 365 * 24 * time.Hour

// admit takes everything of a report but its counts.
func (r *Registry) admit(n *namespace, req *plimsollv1.ReportRequest) (admission, error) {
	now := r.now()
	at := now.Add(-min(max(0, req.GetAppliedAge().AsDuration()), maxAge))
	client := describe(req.GetClient())
	n.mu.Lock()
	defer n.mu.Unlock()
	r.refresh(n)
	p := n.processes[client.GetInstanceId()]
	if p == nil {
		if err := r.room(n, now); err != nil {
			n.refuse(client.GetInstanceId(), now, r.limit)
			return admission{result: resultRefused, after: -1}, err
		}
		delete(n.refused, client.GetInstanceId())
		p = &process{knownSince: now}
		if s := n.streams[client.GetInstanceId()]; s != nil {
			p.knownSince = s.since
		}
		n.processes[client.GetInstanceId()] = p
	}
	a := admission{result: resultCounted, fresh: req.GetSeq() > p.seq, after: -1}
	if !a.fresh {
		a.result = resultRepeated
		if p.left {
			return a, nil // it was under way when the process left
		}
	}
	p.reportedAt = now
	to := positionOf(req.GetApplied())
	// One that comes late, or again, cannot take the process back.
	if (a.fresh || to.reaches(p.last().position)) && p.apply(to, at) {
		a.after = n.appliedAfter(p, to)
	}
	if !a.fresh {
		// The answer to this very report was lost before the process left.
		if p.left = req.GetLeaving() && req.GetSeq() == p.seq; p.left {
			a.result = resultLeft
		}
		return a, nil
	}
	p.seq, p.client, p.source, p.overrides = req.GetSeq(), client, req.GetSource(), req.GetLocalOverrides()
	if p.left = req.GetLeaving(); p.left {
		a.result = resultLeft
	}
	return a, nil
}

// room refuses one process too many.
func (r *Registry) room(n *namespace, now time.Time) error {
	if len(n.processes) < r.limit {
		return nil
	}
	if now.Sub(n.evictedAt) >= time.Second { // or each refusal would look at all
		n.evictedAt = now
		n.forget(now, liveFor)
	}
	if len(n.processes) < r.limit {
		return nil
	}
	return api.TooMany(fmt.Sprintf("live processes in namespace %q: the limit is %d", n.name, r.limit), refusedRetry)
}

// refuse remembers a process that was refused, up to a limit.
func (n *namespace) refuse(id string, now time.Time, limit int) {
	if _, known := n.refused[id]; known || len(n.refused) < limit {
		n.refused[id] = now
	}
}

// appliedAfter is how long after its arrival at this server a process had
// applied a position; negative if it has not, or if that is not known. A
// process that came after the revision did not take so long.
func (n *namespace) appliedAfter(p *process, target position) time.Duration {
	arrived, ok := n.arrivals.of(target)
	if !ok || p.knownSince.After(arrived) {
		return -1
	}
	at, ok := p.reachedAt(target)
	if !ok {
		return -1
	}
	return max(0, at.Sub(arrived))
}

// describe copies what is kept of a process's description: not what a newer
// client may have added, which has no bound.
func describe(c *plimsollv1.ClientInfo) *plimsollv1.ClientInfo {
	return &plimsollv1.ClientInfo{
		InstanceId: c.GetInstanceId(), Service: shortened(c.GetService()), Agent: shortened(c.GetAgent()), Zone: shortened(c.GetZone()),
	}
}

// shortened cuts a name to maxName bytes.
func shortened(name string) string {
	if len(name) <= maxName {
		return name
	}
	end := maxName
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end]
}
