package ui

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func (w *world) GetFailureMap(context.Context, *connect.Request[plimsollv1.GetFailureMapRequest]) (*connect.Response[plimsollv1.GetFailureMapResponse], error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mapped++
	return connect.NewResponse(&plimsollv1.GetFailureMapResponse{Position: w.position(), Plan: w.plan, Features: w.features}), nil
}

func (w *world) GetPlan(context.Context, *connect.Request[plimsollv1.GetPlanRequest]) (*connect.Response[plimsollv1.GetPlanResponse], error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return connect.NewResponse(&plimsollv1.GetPlanResponse{Plan: w.plan, Findings: []*plimsollv1.Fault{{Path: "$." + hostile, Message: "this is odd " + hostile, Hint: "mend it"}}}), nil
}

// withMap is a world of a database that two services need, and features of all
// fates.
func withMap() *world {
	w := newWorld("a")
	w.plan = &plimsollv1.Plan{
		Tiers: []*plimsollv1.Tier{{Name: "critical"}, {Name: "optional"}},
		Dependencies: []*plimsollv1.Dependency{
			{Name: "db", Description: hostile}, {Name: "mail"}, {Name: "payments", DependsOn: []string{"db"}},
		},
	}
	feature := func(key, tier string, needs ...string) *plimsollv1.Feature {
		return &plimsollv1.Feature{FlagKey: key, Tier: tier, DegradedVariant: "off", DefaultVariant: "on", Enabled: true, DependsOn: needs, Owner: "ann"}
	}
	w.features = []*plimsollv1.Feature{
		feature(hostile, "optional", "payments", hostile+" unknown"), feature("breaks", "critical", "payments"), feature("calm", "optional", "mail"),
		feature("gone", "optional", "db"), feature("stray", "no such tier"),
	}
	w.features[1].DefaultVariant = "off"
	w.features[3].Enabled = false
	return w
}

// nodes are the boxes of the drawing, by what they are called to those who
// cannot see it, with their class.
func nodes(page string) map[string]string {
	out := make(map[string]string)
	for _, part := range strings.Split(page, `class="node`)[1:] {
		class, rest, _ := strings.Cut(part, `"`)
		_, rest, _ = strings.Cut(rest, `aria-label="`)
		label, _, _ := strings.Cut(rest, `"`)
		out[label] = class
	}
	return out
}

func TestTheMapTellsWhatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withMap()
		c := w.console(t)
		defer c.Close()
		page := get(t, c, "/ns/default/map?dep=db")
		harmless(t, page)
		got := nodes(page)
		for label, class := range map[string]string{
			"db, dependency: fails": "node-dead", "payments, dependency: fails": "node-dead", "mail, dependency": "node-calm",
			"breaks, feature of tier critical: breaks": "node-breaks", "gone, feature of tier optional: is off already": "node-calm",
			"calm, feature of tier optional": "node-calm", "stray, feature of tier no such tier": "node-calm",
		} {
			if !strings.Contains(got[label], class) {
				t.Errorf("%q has class %q, want %s; there are %v", label, got[label], class, got)
			}
		}
		for _, want := range []string{"3 features are hit", "With it falls", "this is odd", "mend it", "not in the plan", "of no tier of the plan", `aria-current="true"`, "5 of 5 features"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page lacks %q", want)
			}
		}
		page = get(t, c, "/ns/default/map?level=0.5")
		if got := nodes(page); !strings.Contains(got["calm, feature of tier optional: is degraded for 50 %"], "node-dim") || !strings.Contains(got["breaks, feature of tier critical"], "node-calm") {
			t.Errorf("at level 0.5: %v", got)
		}
		for query, want := range map[string]string{
			"q=calm+mail": "1 of 5 features", "q=nothing": "0 of 5 features", "dep=" + url.QueryEscape(hostile): "No other feature is hit",
			"dep=" + url.QueryEscape(hostile+"x"): "is no dependency and no feature", "level=abc": "note-bad", "page=99": "5 of 5 features",
		} {
			page := get(t, c, "/ns/default/map?"+query)
			harmless(t, page)
			if !strings.Contains(page, want) {
				t.Errorf("%s lacks %q", query, want)
			}
		}
		if w.mapped != 1 {
			t.Errorf("one revision was read %d times", w.mapped)
		}
	})
}

func TestAnEmptyMapSaysHowToBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWorld().console(t)
		defer c.Close()
		if page := get(t, c, "/ns/default/map"); !strings.Contains(page, "plan apply -f plan.yaml") {
			t.Error("an empty map does not tell how to begin")
		}
	})
}

func TestALargeMapIsDrawnInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a")
		w.plan = &plimsollv1.Plan{Tiers: []*plimsollv1.Tier{{Name: "critical"}, {Name: "optional"}}}
		for i := range 500 {
			w.plan.Dependencies = append(w.plan.Dependencies, &plimsollv1.Dependency{Name: fmt.Sprintf("dep-%03d", i)})
		}
		for i := range 2000 {
			w.features = append(w.features, &plimsollv1.Feature{
				FlagKey: fmt.Sprintf("feature-%04d", i), Tier: "optional", DegradedVariant: "off", DefaultVariant: "on", Enabled: true,
				DependsOn: []string{fmt.Sprintf("dep-%03d", i%500), "dep-000"},
			})
		}
		c := w.console(t)
		defer c.Close()
		page := get(t, c, "/ns/default/map?dep=dep-499")
		got := nodes(page)
		for label, class := range map[string]string{
			"440 more dependencies": "node-more", "1 880 more features": "node-more", "dep-499, dependency: fails": "node-dead",
			"feature-1999, feature of tier optional: is degraded": "node-dim",
		} {
			if !strings.Contains(got[label], class) {
				t.Errorf("%q has class %q, want %s", label, got[label], class)
			}
		}
		if page = get(t, c, "/ns/default/map?dep=dep-000"); !strings.Contains(page, "1 880 more features, 1 880 of them in the answer") {
			t.Error("what is folded and hit is not told")
		}
		if len(page) > 500_000 {
			t.Errorf("the page has %d bytes", len(page))
		}
	})
}

func TestAMapIsLoadedAnewForWhatIsInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withMap()
		c, rm, _ := look(t, w)
		get(t, c, "/ns/default/map")
		v := rm.visit("map", "")
		defer rm.leave(v)
		time.Sleep(2 * usagePause)
		_, seen := sent(t, rm, v, 1)
		const plain = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`
		for _, step := range []struct {
			name   string
			change func()
			reload bool
		}{
			{"a flag that is in the map", func() { w.put("a", strings.Replace(onOff, "optional", "critical", 1)) }, true},
			{"a flag that is not", func() { w.put("b", plain) }, false},
			{"it again", func() { w.put("b", strings.Replace(plain, `"off"}`, `"on"}`, 1)) }, false},
			{"it comes in", func() { w.put("b", onOff) }, true},
			{"it is deleted", func() { w.put("b", "") }, true},
			{"the level", func() { w.shedTo(300_000) }, false},
			{"the plan", func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.change("plan")
			}, true},
		} {
			step.change()
			time.Sleep(time.Second)
			var p patch
			if p, seen = sent(t, rm, v, seen); p.Reload != step.reload {
				t.Errorf("%s: reload %v", step.name, p.Reload)
			}
		}
	})
}
