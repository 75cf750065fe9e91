package ui

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"github.com/a-h/templ"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// viewOf is a view of flags at revisions, the newest record of which touched
// objects.
func viewOf(seq uint64, revisions map[string]int64, touched ...string) *View {
	v := &View{
		Namespace: "default", Version: seq, lastSeq: seq,
		Level: &plimsollv1.GetDegradationResponse{Tiers: []*plimsollv1.TierState{{Name: "critical"}, {Name: "optional", Rank: 1}}},
	}
	for key, revision := range revisions {
		v.Rows = append(v.Rows, newRow(&plimsollv1.Flag{
			Key: key, Definition: onOff, Revision: revision, UpdatedAt: timestamppb.New(noon), UpdatedBy: &plimsollv1.Actor{Name: "ada"},
		}))
	}
	slices.SortFunc(v.Rows, func(a, b *Row) int { return strings.Compare(a.Key, b.Key) })
	if len(touched) > 0 {
		rec := &plimsollv1.AuditRecord{Seq: seq, Verb: "flag.update", Reason: "<b>a reason</b>"}
		for _, o := range touched {
			rec.Objects = append(rec.Objects, &plimsollv1.AuditObject{Object: o})
		}
		v.Records = append(v.Records, rec)
	}
	return v
}

// emitted are the fragments that a topic emits between two views.
func emitted(t *testing.T, name, key string, prev, next *View) map[string]string {
	t.Helper()
	out := make(map[string]string)
	topics[name].render(nil, prev, next, key, func(id string, c templ.Component) {
		var b bytes.Buffer
		if c != nil {
			if err := c.Render(context.Background(), &b); err != nil {
				t.Fatal(err)
			}
		}
		out[id] = b.String()
	})
	return out
}

func TestEditorsLearnThatSomebodyElseWasFaster(t *testing.T) {
	before := viewOf(1, map[string]int64{"f": 5, "g": 5})
	for name, c := range map[string]struct {
		next *View
		want string // "": nothing
	}{
		"changed":     {viewOf(2, map[string]int64{"f": 6, "g": 5}, "flags/f"), "This flag was changed by <bdi>ada</bdi>"},
		"another one": {viewOf(2, map[string]int64{"f": 5, "g": 6}, "flags/g"), ""},
		"deleted":     {viewOf(2, map[string]int64{"g": 5}, "flags/f"), "This flag was deleted."},
		"killed":      {viewOf(2, map[string]int64{"f": 5, "g": 5}, "overrides/f"), ""},
	} {
		got := emitted(t, "edit", "f", before, c.next)["flag-news"]
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) || strings.Contains(got, "<b>a reason") {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if got := emitted(t, "edit", "f", nil, before); len(got) > 0 {
		t.Errorf("the first view brings %v", got)
	}
}

func TestAFlagPageIsMadeAnewWhenItsHistoryGrows(t *testing.T) {
	before := viewOf(1, map[string]int64{"f": 5})
	for name, c := range map[string]struct {
		next *View
		anew bool
	}{
		"changed":         {viewOf(2, map[string]int64{"f": 6}, "flags/f"), true},
		"killed":          {viewOf(2, map[string]int64{"f": 5}, "overrides/f", "overrides/g"), true},
		"deleted":         {viewOf(2, nil, "flags/f"), true},
		"another one":     {viewOf(2, map[string]int64{"f": 5}, "flags/g"), false},
		"the fleet moved": {viewOf(1, map[string]int64{"f": 5}, "flags/f"), false},
	} {
		if _, anew := emitted(t, "flag", "f", before, c.next)["*"]; anew != c.anew {
			t.Errorf("%s: made anew: %v", name, anew)
		}
	}
}

func TestFragmentsOfAFlagAreEqualWhereItsStateIs(t *testing.T) {
	usage := func(v *View) *View {
		v.UsageWindow = 10 * time.Minute
		v.Usage = map[string]*plimsollv1.FlagUsage{"f": {
			FlagKey: "f", LastEvaluatedAge: durationpb.New(3 * time.Second),
			Outcomes: []*plimsollv1.OutcomeCount{{Variant: "on", Count: 30}, {Variant: "off", Count: 10}, {Count: 10}},
		}}
		return v
	}
	first := emitted(t, "flag", "f", nil, usage(viewOf(1, map[string]int64{"f": 5})))
	again := emitted(t, "flag", "f", usage(viewOf(1, map[string]int64{"f": 5})), usage(viewOf(2, map[string]int64{"f": 5}, "flags/g")))
	for id, html := range first {
		if again[id] != html || strings.Contains(html, "<form") {
			t.Errorf("#%s became %s, from %s", id, again[id], html)
		}
	}
	if html := first["flag-usage"]; !strings.Contains(html, "60\u202f%") || !strings.Contains(html, "10 minutes") || !strings.Contains(html, "the apps&#39; own default") {
		t.Errorf("the evaluations are %s", html)
	}
}

// log serves records as the API does, of which it looks at 7 at a time.
type auditLog struct {
	plimsollv1connect.UnimplementedAuditServiceHandler
	records []*plimsollv1.AuditRecord // newest first
}

func (l *auditLog) ListRecords(_ context.Context, req *connect.Request[plimsollv1.ListRecordsRequest]) (*connect.Response[plimsollv1.ListRecordsResponse], error) {
	out := &plimsollv1.ListRecordsResponse{}
	seen := 0
	for _, r := range l.records {
		if before := req.Msg.GetBeforeSeq(); before > 0 && r.GetSeq() >= before {
			continue
		}
		seen++
		if slices.ContainsFunc(r.GetObjects(), func(o *plimsollv1.AuditObject) bool { return o.GetObject() == req.Msg.GetObject() }) {
			out.Records = append(out.Records, r)
		}
		if (len(out.GetRecords()) == int(req.Msg.GetLimit()) || seen == 7) && r.GetSeq() > 1 {
			out.NextBeforeSeq = r.GetSeq()
			break
		}
	}
	return connect.NewResponse(out), nil
}

// The pages of a flag's history have each of its changes once, newest first,
// however the log is looked through.
func TestTheHistoryOfAFlagIsWhole(t *testing.T) {
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		touched := rapid.SliceOfN(rapid.SampledFrom([][]string{{"flags/f"}, {"overrides/f"}, {"flags/g"}, {"flags/f", "overrides/f"}, {"plan"}}), 0, 80).Draw(t, "log")
		log := &auditLog{}
		var want, got []uint64
		for i := len(touched); i > 0; i-- {
			rec := &plimsollv1.AuditRecord{Seq: uint64(i)}
			for _, o := range touched[i-1] {
				rec.Objects = append(rec.Objects, &plimsollv1.AuditObject{Object: o})
			}
			log.records = append(log.records, rec)
			if strings.HasSuffix(touched[i-1][0], "/f") {
				want = append(want, rec.GetSeq())
			}
		}
		c := &Console{Options: Options{Audit: log}, validator: validator}
		for before, pages := uint64(0), 0; ; pages++ {
			q := &request{c: c, ns: "default", r: httptest.NewRequest("GET", fmt.Sprint("/?before=", before), nil)}
			h, err := historyOf(context.Background(), q, "f")
			if err != nil {
				t.Fatal(err)
			}
			if len(h.Entries) > historyPage || pages > 200 {
				t.Fatalf("%d entries on page %d", len(h.Entries), pages)
			}
			for _, e := range h.Entries {
				got = append(got, e.Record.GetSeq())
			}
			if before = h.Next; before == 0 {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("the pages have %v, the log %v", got, want)
		}
	})
}

// An altered form is answered, and never with a definition that is no JSON.
func FuzzEditorForm(f *testing.F) {
	f.Add("as=form&doc=%7B%7D&do=add-rule&key=f")
	f.Add("as=form&doc=x&rulesas=json&targeting=%7B&variant.0.name=a&variant.0.value=%7B")
	f.Add("as=json&text=%5B%5D&do=as:form")
	f.Add("as=json&text=%7B%22variants%22%3A1%7D&do=as:form&fresh=true")
	f.Fuzz(func(t *testing.T, body string) {
		form, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		e := readEditor("default", form, form.Get("fresh") == "true")
		e.tiers = []string{"critical", "optional"}
		for name, page := range map[string]templ.Component{"page": editorPage(e), "check": editorChecked(e)} {
			if err := page.Render(context.Background(), &bytes.Buffer{}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if e.Result != "" && len(e.Problems) == 0 && pretty(e.Result) == e.Result && e.Result != "{}" {
			t.Fatalf("the result is no JSON: %s", e.Result)
		}
	})
}

func TestPathsAreThoseWithinTheFlag(t *testing.T) {
	for path, want := range map[string]string{
		`$.flags["new-ui"].variants`: "$.variants", "$.flags.new-ui.targeting": "$.targeting", "$.flags": "$.flags",
	} {
		if got := ownPart(path, "new-ui"); got != want {
			t.Errorf("%s became %s, want %s", path, got, want)
		}
	}
}

func TestTheStateSaysWhatIsServed(t *testing.T) {
	plain, disabled := onOff, strings.Replace(onOff, "ENABLED", "DISABLED", 1)
	ruled := strings.Replace(onOff, `"defaultVariant"`, `"targeting":{"if":[{"var":"a"},"on"]},"defaultVariant"`, 1)
	for _, c := range []struct {
		definition string
		shed       uint32
		killed     bool
		want       string
	}{
		{plain, 0, false, "Enabled: everybody gets the default variant."},
		{ruled, 0, false, "Enabled: the first rule that holds decides, else the default variant."},
		{plain, 400_000, false, "Enabled, but 40\u202f% of users are shed and get off. For the others: everybody gets the default variant."},
		{ruled, 1_000_000, false, "Enabled, but its tier is shed: everybody gets off."},
		{disabled, 1_000_000, false, "Disabled: apps use their own default, the one in their code."},
		{plain, 1_000_000, true, "Enabled, but an override comes first."},
		{disabled, 0, true, "Disabled, but an override comes first. After that apps use their own default."},
	} {
		f := &plimsollv1.Flag{Key: "f", Definition: c.definition}
		if c.killed {
			f.Override = &plimsollv1.Override{FlagKey: "f", Variant: "off"}
		}
		v := viewOf(1, nil)
		v.Level.Tiers[1].ShedMillionths = c.shed
		if got := stateText(v, newRow(f)); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
