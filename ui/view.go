package ui

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

const (
	defaultNamespace = "default"
	// listPage is how many flags are read at a time.
	listPage = 5000
	// recentRecords is how many changes the Overview tells.
	recentRecords = 12
	// maxCatchUp is how many records are read to catch up; past that all flags
	// are read anew.
	maxCatchUp = 200
	// chartWindow is how far back the chart of the level goes.
	chartWindow = time.Hour
	// maxChartRecords bounds the records that the chart is made from.
	maxChartRecords = 1000
)

// View is one namespace as the pages show it. It is immutable.
type View struct {
	Namespace string
	// Version counts the views of a room.
	Version uint64
	// Rows are the flags, sorted by key.
	Rows []*Row
	// Level is how deep the namespace is in degradation, and why.
	Level *plimsollv1.GetDegradationResponse
	// Status is the server's own state.
	Status *plimsollv1.GetStatusResponse
	// Records are the newest changes, newest first: those that the chart of the
	// level needs, and at least recentRecords.
	Records []*plimsollv1.AuditRecord
	// Fleet is how far the newest revision has got; nil: not known.
	Fleet *plimsollv1.GetRolloutResponse
	// Processes are those of the fleet; nil until somebody looked at them.
	Processes *fleetState
	// Usage is what the processes have reported of each flag, nil until it was
	// asked for; UsageWindow is the time that it covers.
	Usage       map[string]*plimsollv1.FlagUsage
	UsageWindow time.Duration
	// Trouble is why the view could not be brought up to date; "": it is.
	Trouble string

	lastSeq uint64
}

// Revision is the namespace's revision.
func (v *View) Revision() int64 { return v.Level.GetPosition().GetRevision() }

// Row finds a flag.
func (v *View) Row(key string) (*Row, bool) {
	i, ok := slices.BinarySearchFunc(v.Rows, key, func(r *Row, key string) int { return strings.Compare(r.Key, key) })
	if !ok {
		return nil, false
	}
	return v.Rows[i], true
}

// Shed is the share of a tier that is shed, in millionths.
func (v *View) Shed(tier string) uint32 {
	for _, t := range v.Level.GetTiers() {
		if t.GetName() == tier {
			return t.GetShedMillionths()
		}
	}
	return 0
}

// evaluations of a flag, as last reported.
func (v *View) evaluations(key string) uint64 {
	var n uint64
	for _, o := range v.Usage[key].GetOutcomes() {
		n += o.GetCount()
	}
	return n
}

// load reads all of a namespace.
func (c *Console) load(ctx context.Context, ns string) (*View, error) {
	v := &View{Namespace: ns}
	if err := c.loadLevel(ctx, v); err != nil {
		return nil, err
	}
	if err := c.loadStatus(ctx, v); err != nil {
		return nil, err
	}
	if err := c.loadRows(ctx, v); err != nil {
		return nil, err
	}
	records, err := c.recordsBack(ctx, ns, 0)
	if err != nil {
		return nil, err
	}
	v.setRecords(records, c.Now())
	return v, nil
}

// loadLevel reads how deep the namespace is in degradation, from the server's
// memory.
func (c *Console) loadLevel(ctx context.Context, v *View) error {
	var err error
	v.Level, err = call(ctx, c, c.Degradation.GetDegradation, &plimsollv1.GetDegradationRequest{Namespace: v.Namespace})
	return err
}

// loadStatus reads the server's own state. While etcd is away that takes a
// second, so it is not part of what a page waits for.
func (c *Console) loadStatus(ctx context.Context, v *View) error {
	var err error
	v.Status, err = call(ctx, c, c.Admin.GetStatus, &plimsollv1.GetStatusRequest{Namespace: v.Namespace})
	return err
}

func (c *Console) loadRows(ctx context.Context, v *View) error {
	v.Rows = nil
	for token := ""; ; {
		page, err := call(ctx, c, c.Flags.ListFlags, &plimsollv1.ListFlagsRequest{Namespace: v.Namespace, PageSize: listPage, PageToken: token})
		if err != nil {
			return err
		}
		v.Rows = append(v.Rows, newRows(page.GetFlags())...)
		if token = page.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

// recordsBack reads the newest records, back to one, or for as long as the
// chart of the level goes.
func (c *Console) recordsBack(ctx context.Context, ns string, after uint64) ([]*plimsollv1.AuditRecord, error) {
	var out []*plimsollv1.AuditRecord
	oldest := c.Now().Add(-chartWindow)
	for before := uint64(0); ; {
		page, err := call(ctx, c, c.Audit.ListRecords, &plimsollv1.ListRecordsRequest{Namespace: ns, BeforeSeq: before, Limit: 100})
		if err != nil {
			return nil, err
		}
		for _, rec := range page.GetRecords() {
			if rec.GetSeq() <= after || len(out) >= maxChartRecords || (len(out) >= recentRecords && rec.GetTime().AsTime().Before(oldest)) {
				return out, nil
			}
			out = append(out, rec)
		}
		if before = page.GetNextBeforeSeq(); before == 0 || len(page.GetRecords()) == 0 {
			return out, nil
		}
	}
}

// setRecords puts new records before the known ones, and lets go of those that
// nobody looks at any more. The values of objects are kept only where the chart
// needs them: a record may be 1 MiB.
func (v *View) setRecords(fresh []*plimsollv1.AuditRecord, now time.Time) {
	if len(fresh) > 0 {
		v.lastSeq = fresh[0].GetSeq()
	}
	for _, rec := range fresh {
		for _, o := range rec.GetObjects() {
			if !movesLevel(o.GetObject()) {
				o.Before, o.After, o.BeforeJson, o.AfterJson = nil, nil, "", ""
			}
		}
	}
	all := append(slices.Clip(fresh), v.Records...)
	oldest := now.Add(-chartWindow)
	kept := all[:0]
	for i, rec := range all {
		inChart := !rec.GetTime().AsTime().Before(oldest) && slices.ContainsFunc(rec.GetObjects(), func(o *plimsollv1.AuditObject) bool { return movesLevel(o.GetObject()) })
		if i < recentRecords || inChart {
			kept = append(kept, rec)
		}
	}
	v.Records = kept[:min(len(kept), maxChartRecords)]
}

// movesLevel tells whether an object has a part in the level.
func movesLevel(object string) bool {
	return object == "level" || object == "plan" || strings.HasPrefix(object, "holds/")
}

// advance is the view after what has happened since prev.
func (c *Console) advance(ctx context.Context, prev *View) (*View, error) {
	next := *prev
	next.Version, next.Trouble = prev.Version+1, ""
	if err := c.loadLevel(ctx, &next); err != nil {
		return nil, err
	}
	if next.Revision() == prev.Revision() && next.Level.GetPosition().GetStoreId() == prev.Level.GetPosition().GetStoreId() {
		return &next, nil
	}
	fresh, err := c.recordsBack(ctx, next.Namespace, prev.lastSeq)
	if err != nil {
		return nil, err
	}
	keys, all := touched(fresh, prev.lastSeq)
	if all || next.Level.GetPosition().GetStoreId() != prev.Level.GetPosition().GetStoreId() {
		full, err := c.load(ctx, next.Namespace)
		if err != nil {
			return nil, err
		}
		full.Version, full.Fleet, full.Processes, full.Usage, full.UsageWindow = next.Version, next.Fleet, next.Processes, next.Usage, next.UsageWindow
		return full, nil
	}
	if err := c.patchRows(ctx, &next, keys); err != nil {
		return nil, err
	}
	next.setRecords(fresh, c.Now())
	return &next, nil
}

// touched are the flags that records tell of. All are touched if a record is
// missing, or there are too many, or what all refer to has changed.
func touched(records []*plimsollv1.AuditRecord, last uint64) (keys []string, all bool) {
	if len(records) >= maxCatchUp || (len(records) > 0 && records[len(records)-1].GetSeq() > last+1) {
		return nil, true
	}
	for _, rec := range records {
		for _, o := range rec.GetObjects() {
			kind, name, _ := strings.Cut(o.GetObject(), "/")
			switch kind {
			case "flags", "overrides":
				keys = append(keys, name)
			case "plan", "settings", "setmeta":
				return nil, true
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), false
}

// patchRows reads some flags anew.
func (c *Console) patchRows(ctx context.Context, v *View, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	changed := make(map[string]*Row, len(keys))
	for _, key := range keys {
		got, err := call(ctx, c, c.Flags.GetFlag, &plimsollv1.GetFlagRequest{Namespace: v.Namespace, Key: key})
		switch {
		case err == nil:
			row := newRow(got.GetFlag())
			row.Moved = max(row.Moved, v.Revision())
			changed[key] = row
		case status(err) == 404:
			changed[key] = nil
		default:
			return err
		}
	}
	rows := make([]*Row, 0, len(v.Rows)+len(keys))
	for _, r := range v.Rows {
		now, ok := changed[r.Key]
		switch {
		case !ok:
			rows = append(rows, r)
		case now != nil:
			rows = append(rows, now)
		}
		delete(changed, r.Key)
	}
	grown := false
	for _, r := range changed {
		if r != nil {
			rows, grown = append(rows, r), true
		}
	}
	if grown {
		slices.SortFunc(rows, func(a, b *Row) int { return cmp.Compare(a.Key, b.Key) })
	}
	v.Rows = rows
	return nil
}

// loadUsage asks what the processes have reported of the flags.
func (c *Console) loadUsage(ctx context.Context, v *View) error {
	usage, err := call(ctx, c, c.Fleet.GetUsage, &plimsollv1.GetUsageRequest{Namespace: v.Namespace})
	if err != nil {
		return err
	}
	v.Usage = make(map[string]*plimsollv1.FlagUsage, len(usage.GetFlags()))
	for _, f := range usage.GetFlags() {
		v.Usage[f.GetFlagKey()] = f
	}
	v.UsageWindow = usage.GetWindow().AsDuration()
	return nil
}
