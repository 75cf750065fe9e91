package ui

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// apart keeps a name that holds right-to-left text or marks from turning the
// sentence round that it stands in.
func apart(name string) string {
	for _, r := range name {
		if r >= 0x590 && r <= 0x8ff || r >= 0x200e && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r >= 0xfb1d && r <= 0xfefc {
			// What the name opens and does not close ends with it.
			return "\u2068" + strings.Map(func(r rune) rune {
				if r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
					return -1
				}
				return r
			}, name) + "\u2069"
		}
	}
	return name
}

// invalid is a value that a visitor gave and cannot be taken.
func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

// flagOf is the flag that a form is about, as it is now.
func flagOf(ctx context.Context, q *request, form url.Values) (*Row, error) {
	key := form.Get("flag")
	if row, ok := q.view.Row(key); ok {
		return row, nil
	}
	got, err := call(ctx, q.c, q.c.Flags.GetFlag, &plimsollv1.GetFlagRequest{Namespace: q.ns, Key: key})
	if err != nil {
		return nil, err
	}
	return newRow(got.GetFlag()), nil
}

// about is what the forms of a flag carry on: the flag, and the revision that
// the visitor has seen.
func about(row *Row, form url.Values) [][2]string {
	base := form.Get("base")
	if base == "" {
		base = strconv.FormatInt(row.Revision, 10)
	}
	return [][2]string{{"flag", row.Key}, {"base", base}}
}

func baseOf(form url.Values) int64 {
	base, err := strconv.ParseInt(form.Get("base"), 10, 64)
	if err != nil || base < 0 {
		return 0
	}
	return base
}

// trafficOf is what a flag served lately, as the processes have reported it.
func trafficOf(ctx context.Context, q *request, key string) *traffic {
	usage, err := call(ctx, q.c, q.c.Fleet.GetUsage, &plimsollv1.GetUsageRequest{Namespace: q.ns, FlagKeys: []string{key}})
	if err != nil {
		return nil // the question can be answered without
	}
	return trafficFrom(usage.GetWindow().AsDuration(), usage.GetFlags())
}

func trafficFrom(window time.Duration, flags []*plimsollv1.FlagUsage) *traffic {
	out := &traffic{Window: window}
	counts := make(map[string]uint64)
	for _, f := range flags {
		for _, o := range f.GetOutcomes() {
			name := o.GetVariant()
			if name == "" {
				name = "the apps' own default"
			}
			counts[name] += o.GetCount()
			out.Total += o.GetCount()
		}
	}
	for name, n := range counts {
		out.Outcomes = append(out.Outcomes, share{name, n})
	}
	slices.SortFunc(out.Outcomes, func(a, b share) int {
		if a.Count != b.Count {
			return int(min(1, max(-1, int64(b.Count)-int64(a.Count))))
		}
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

func askSet(ctx context.Context, q *request, form url.Values) (*question, error) {
	row, err := flagOf(ctx, q, form)
	if err != nil {
		return nil, err
	}
	to := form.Get("variant")
	out := &question{
		Title: fmt.Sprintf("Change %s", apart(row.Key)), Button: "Change", Hidden: about(row, form),
		Traffic: trafficOf(ctx, q, row.Key),
	}
	if form.Get("toggle") != "" && slices.Contains(row.Variants, to) {
		out.Title = fmt.Sprintf("Switch %s to %s", apart(row.Key), apart(to))
		out.Button = "Switch to " + apart(to)
		out.Hidden = append(out.Hidden, [2]string{"variant", to}, [2]string{"toggle", "1"})
	} else {
		if to == "" {
			to = row.Default
		}
		out.Variant = &variantField{Value: to, Choices: row.Variants}
	}
	if name, err := json.Marshal(to); err == nil {
		out.Sets = [2]string{"defaultVariant", string(name)}
	}
	says := fmt.Sprintf("All users get %s instead of %s.", apart(to), apart(orDefault(row.Default)))
	if row.Targeted {
		says = fmt.Sprintf("Users whom no rule decides for get %s instead of %s.", apart(to), apart(orDefault(row.Default)))
	}
	out.Says = append(out.Says, says)
	switch {
	case row.Override != nil:
		out.Warn = fmt.Sprintf("An override serves %s to everybody; the change shows once it ends.", row.Override.GetVariant())
	case !row.Enabled:
		out.Warn = "The flag is disabled: apps use their own default until it is enabled."
	}
	return out, nil
}

func orDefault(variant string) string {
	if variant == "" {
		return "the apps' own default"
	}
	return variant
}

func doSet(ctx context.Context, q *request, form url.Values, p pass) (*done, error) {
	variant := form.Get("variant")
	resp, err := call(ctx, q.c, q.c.Flags.UpdateFlag, &plimsollv1.UpdateFlagRequest{
		Namespace: q.ns, Key: form.Get("flag"), BaseRevision: baseOf(form), Change: changeInfo(form, p),
		Update: &plimsollv1.UpdateFlagRequest_DefaultVariant{DefaultVariant: variant},
	})
	if err != nil {
		return nil, err
	}
	return doneBy(fmt.Sprintf("%s serves %s", apart(form.Get("flag")), apart(variant)), resp.GetChange()), nil
}

func askState(enable bool) func(context.Context, *request, url.Values) (*question, error) {
	return func(ctx context.Context, q *request, form url.Values) (*question, error) {
		row, err := flagOf(ctx, q, form)
		if err != nil {
			return nil, err
		}
		out := &question{Title: "Enable " + apart(row.Key), Button: "Enable", Hidden: about(row, form), Traffic: trafficOf(ctx, q, row.Key)}
		out.Says = []string{"Apps get the flag's variants again."}
		out.Sets = [2]string{"state", `"ENABLED"`}
		if !enable {
			out.Sets[1] = `"DISABLED"`
			out.Title, out.Button, out.Danger = "Disable "+apart(row.Key), "Disable", true
			out.Says = []string{"Apps use their own default, the one in their code, until the flag is enabled. To serve the degraded variant instead, kill it."}
		}
		if row.Override != nil {
			out.Warn = fmt.Sprintf("An override serves %s to everybody, enabled or not; the change shows once it ends.", row.Override.GetVariant())
		}
		return out, nil
	}
}

func doState(enable bool) func(context.Context, *request, url.Values, pass) (*done, error) {
	state, title := plimsollv1.FlagState_FLAG_STATE_DISABLED, "%s is disabled"
	if enable {
		state, title = plimsollv1.FlagState_FLAG_STATE_ENABLED, "%s is enabled"
	}
	return func(ctx context.Context, q *request, form url.Values, p pass) (*done, error) {
		resp, err := call(ctx, q.c, q.c.Flags.UpdateFlag, &plimsollv1.UpdateFlagRequest{
			Namespace: q.ns, Key: form.Get("flag"), BaseRevision: baseOf(form), Change: changeInfo(form, p),
			Update: &plimsollv1.UpdateFlagRequest_State{State: state},
		})
		if err != nil {
			return nil, err
		}
		return doneBy(fmt.Sprintf(title, apart(form.Get("flag"))), resp.GetChange()), nil
	}
}

func killRequest(q *request, form url.Values) (*plimsollv1.KillRequest, error) {
	lasts, err := lasting(form)
	return &plimsollv1.KillRequest{Namespace: q.ns, FlagKeys: []string{form.Get("flag")}, Variant: form.Get("variant"), Duration: lasts}, err
}

func askKill(ctx context.Context, q *request, form url.Values) (*question, error) {
	row, err := flagOf(ctx, q, form)
	if err != nil {
		return nil, err
	}
	out := &question{
		Title: "Kill " + apart(row.Key), Button: "Kill", Danger: true, Duration: true,
		Hidden:  [][2]string{{"flag", row.Key}},
		Variant: &variantField{Value: form.Get("variant"), Choices: row.Variants},
		Says:    []string{"Everybody gets the chosen variant, whatever the rules say, until it is restored."},
		Traffic: trafficOf(ctx, q, row.Key),
	}
	if out.Variant.Value == "" {
		out.Variant.Value = degradedOf(row)
	}
	if !row.Degradable && out.Variant.Value == "" {
		out.Warn = "The flag has no degraded variant: choose the one to serve."
		if len(row.Variants) > 0 {
			out.Variant.Value = row.Variants[0]
		}
	}
	form.Set("variant", out.Variant.Value)
	req, err := killRequest(q, form)
	if err == nil {
		req.DryRun = true
		var resp *plimsollv1.KillResponse
		if resp, err = call(ctx, q.c, q.c.Degradation.Kill, req); err == nil {
			out.Effects = resp.GetEffects()
		}
	}
	return out.orBlocked(err)
}

func doKill(ctx context.Context, q *request, form url.Values, p pass) (*done, error) {
	req, err := killRequest(q, form)
	if err != nil {
		return nil, err
	}
	req.Change = changeInfo(form, p)
	resp, err := call(ctx, q.c, q.c.Degradation.Kill, req)
	if err != nil {
		return nil, err
	}
	variant := req.GetVariant()
	for _, ov := range resp.GetOverrides() {
		variant = ov.GetVariant()
	}
	return doneBy(fmt.Sprintf("%s is killed: everybody gets %s", apart(form.Get("flag")), apart(variant)), resp.GetChange()), nil
}

func restoreRequest(q *request, form url.Values) *plimsollv1.RestoreRequest {
	out := &plimsollv1.RestoreRequest{Namespace: q.ns}
	if key := form.Get("flag"); key != "" {
		out.FlagKeys = []string{key}
	}
	return out
}

func askRestore(ctx context.Context, q *request, form url.Values) (*question, error) {
	out := &question{Title: "Restore everything", Button: "Restore everything", Says: []string{"All overrides and all holds are removed."}}
	if key := form.Get("flag"); key != "" {
		out.Title, out.Button = "Restore "+apart(key), "Restore"
		out.Says = []string{"The override is removed: the flag serves what its definition says."}
		out.Hidden = [][2]string{{"flag", key}}
	}
	req := restoreRequest(q, form)
	req.DryRun = true
	resp, err := call(ctx, q.c, q.c.Degradation.Restore, req)
	if err != nil {
		return out.orBlocked(err)
	}
	out.Effects = resp.GetEffects()
	if n, h := len(resp.GetOverrides()), len(resp.GetHolds()); form.Get("flag") == "" {
		out.Says = []string{fmt.Sprintf("%s and %s are removed.", count(n, "override", "overrides"), count(h, "hold", "holds"))}
	}
	return out, nil
}

func doRestore(ctx context.Context, q *request, form url.Values, p pass) (*done, error) {
	req := restoreRequest(q, form)
	req.Change = changeInfo(form, p)
	resp, err := call(ctx, q.c, q.c.Degradation.Restore, req)
	if err != nil {
		return nil, err
	}
	title := "Everything is restored"
	if key := form.Get("flag"); key != "" {
		title = apart(key) + " is restored"
	}
	return doneBy(title, resp.GetChange()), nil
}

func askDelete(ctx context.Context, q *request, form url.Values) (*question, error) {
	row, err := flagOf(ctx, q, form)
	if err != nil {
		return nil, err
	}
	return &question{
		Title: "Delete " + apart(row.Key), Button: "Delete", Danger: true, Hidden: about(row, form),
		Says:    []string{"The flag is gone: apps that ask for it use their own default. It can be undone, with its history."},
		Traffic: trafficOf(ctx, q, row.Key),
	}, nil
}

func doDelete(ctx context.Context, q *request, form url.Values, p pass) (*done, error) {
	resp, err := call(ctx, q.c, q.c.Flags.DeleteFlag, &plimsollv1.DeleteFlagRequest{
		Namespace: q.ns, Key: form.Get("flag"), BaseRevision: baseOf(form), Change: changeInfo(form, p),
	})
	if err != nil {
		return nil, err
	}
	return doneBy(apart(form.Get("flag"))+" is deleted", resp.GetChange()), nil
}
