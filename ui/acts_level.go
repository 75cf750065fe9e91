package ui

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/plimsoll-dev/plimsoll/degrade"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

func shedRequest(q *request, form url.Values) (*plimsollv1.ShedRequest, error) {
	share, err := percentOf(form)
	if err != nil {
		return nil, err
	}
	lasts, err := lasting(form)
	return &plimsollv1.ShedRequest{Namespace: q.ns, Tier: form.Get("tier"), ShareMillionths: share, Duration: lasts}, err
}

func askShed(ctx context.Context, q *request, form url.Values) (*question, error) {
	tier := form.Get("tier")
	out := &question{
		Title: fmt.Sprintf("Shed tier %s", tier), Button: "Shed", Danger: true, Duration: true,
		Hidden: [][2]string{{"tier", tier}}, Percent: &percentField{Value: "100", Tier: tier},
		Says: []string{"A share of the users gets the degraded variants of this tier's features, the same users everywhere. All tiers that are less important are shed whole."},
	}
	if form.Has("percent") {
		out.Percent.Value = clip(form.Get("percent"), 20)
	}
	req, err := shedRequest(q, form)
	if err == nil {
		req.DryRun = true
		var resp *plimsollv1.ShedResponse
		if resp, err = call(ctx, q.c, q.c.Degradation.Shed, req); err == nil {
			out.Effects = resp.GetEffects()
		}
		if req.GetShareMillionths() == 0 {
			out.Title, out.Button, out.Danger, out.Duration = fmt.Sprintf("Stop shedding tier %s", tier), "Stop shedding", false, false
			out.Says = []string{"The hold on this tier is removed. Other holds stay."}
		}
	}
	return out.orBlocked(err)
}

// orBlocked is the question with what was wrong with it, unless nobody could
// ask it.
func (s *question) orBlocked(err error) (*question, error) {
	if err == nil {
		return s, nil
	}
	if code := status(err); code == 404 || code == 403 || code == 401 {
		return nil, err
	}
	t := explain(err)
	s.Blocked = &t
	return s, nil
}

func doShed(ctx context.Context, q *request, form url.Values, p pass) (*done, error) {
	req, err := shedRequest(q, form)
	if err != nil {
		return nil, err
	}
	req.Change = changeInfo(form, p)
	resp, err := call(ctx, q.c, q.c.Degradation.Shed, req)
	if err != nil {
		return nil, err
	}
	title := fmt.Sprintf("%s of tier %s shed", shedText(req.GetShareMillionths()), req.GetTier())
	if req.GetShareMillionths() == 0 {
		title = fmt.Sprintf("Tier %s is not held down any more", req.GetTier())
	}
	return doneBy(title, resp.GetChange()), nil
}

func levelRequest(q *request, form url.Values) (*plimsollv1.SetLevelRequest, error) {
	level, err := degrade.ParseLevel(strings.TrimSpace(form.Get("level")))
	if err != nil {
		return nil, invalid("%s", err)
	}
	lasts, err := lasting(form)
	millionths := uint32(level)
	return &plimsollv1.SetLevelRequest{Namespace: q.ns, LevelMillionths: &millionths, Duration: lasts}, err
}

func askLevel(ctx context.Context, q *request, form url.Values) (*question, error) {
	if form.Get("level") == "" {
		form.Set("level", degrade.Level(q.view.Level.GetLevelMillionths()).String())
	}
	out := &question{
		Title: "Fix the level", Button: "Fix the level", Danger: true, Duration: true,
		Level: &levelField{Value: clip(form.Get("level"), 20), Max: len(q.view.Level.GetTiers()) - 1},
		Says:  []string{"All holds are removed, and the level stays where you put it. Automatic shedding is off until you give it back."},
	}
	req, err := levelRequest(q, form)
	if err == nil {
		req.DryRun = true
		var resp *plimsollv1.SetLevelResponse
		if resp, err = call(ctx, q.c, q.c.Degradation.SetLevel, req); err == nil {
			out.Effects = resp.GetEffects()
		}
	}
	return out.orBlocked(err)
}

func doLevel(ctx context.Context, q *request, form url.Values, p pass) (*done, error) {
	req, err := levelRequest(q, form)
	if err != nil {
		return nil, err
	}
	req.Change = changeInfo(form, p)
	resp, err := call(ctx, q.c, q.c.Degradation.SetLevel, req)
	if err != nil {
		return nil, err
	}
	return doneBy("Level fixed at "+degrade.Level(req.GetLevelMillionths()).String()+"; automatic shedding is off", resp.GetChange()), nil
}

func askAuto(ctx context.Context, q *request, _ url.Values) (*question, error) {
	out := &question{
		Title: "Give the level back", Button: "Give it back",
		Says: []string{"All holds are removed. The level is what the policies want."},
	}
	resp, err := call(ctx, q.c, q.c.Degradation.SetLevel, &plimsollv1.SetLevelRequest{Namespace: q.ns, DryRun: true})
	out.Effects = resp.GetEffects()
	return out.orBlocked(err)
}

func doAuto(ctx context.Context, q *request, form url.Values, p pass) (*done, error) {
	resp, err := call(ctx, q.c, q.c.Degradation.SetLevel, &plimsollv1.SetLevelRequest{Namespace: q.ns, Change: changeInfo(form, p)})
	if err != nil {
		return nil, err
	}
	return doneBy("All holds removed; the level is automatic", resp.GetChange()), nil
}

func askUndo(ctx context.Context, q *request, form url.Values) (*question, error) {
	id := form.Get("of")
	out := &question{Title: "Undo a change", Button: "Undo", Hidden: [][2]string{{"of", id}}}
	resp, err := call(ctx, q.c, q.c.Degradation.Undo, &plimsollv1.UndoRequest{Namespace: q.ns, ChangeId: id, DryRun: true})
	if err != nil {
		return out.orBlocked(err)
	}
	out.Effects = resp.GetEffects()
	who := resp.GetUndoneActor().GetName()
	out.Says = []string{fmt.Sprintf("Takes back %s by %s at %s.", verbText(resp.GetUndoneVerb()), who, resp.GetUndoneTime().AsTime().UTC().Format("2006-01-02 15:04:05 UTC"))}
	if reason := resp.GetUndoneReason(); reason != "" {
		out.Says = append(out.Says, "It was made because: "+clip(reason, 300))
	}
	for _, o := range resp.GetObjects() {
		if o.GetLapsed() {
			out.Says = append(out.Says, fmt.Sprintf("What %s held before has lapsed since, and is not revived.", o.GetObject()))
		}
	}
	return out, nil
}

func doUndo(ctx context.Context, q *request, form url.Values, p pass) (*done, error) {
	resp, err := call(ctx, q.c, q.c.Degradation.Undo, &plimsollv1.UndoRequest{Namespace: q.ns, ChangeId: form.Get("of"), Change: changeInfo(form, p)})
	if err != nil {
		return nil, err
	}
	return doneBy("Taken back: "+verbText(resp.GetUndoneVerb()), resp.GetChange()), nil
}
