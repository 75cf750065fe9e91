package sdk_test

import (
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk"
)

func TestOverridesOfTheEnvironment(t *testing.T) {
	environ := sdk.WithEnviron(
		"HOME=/root", "PLIMSOLL_OVERRIDE_NEW_CHECKOUT=on", "PLIMSOLL_OVERRIDE_T_RKIS__2=on",
		"PLIMSOLL_OVERRIDE_G=maybe", "PLIMSOLL_OVERRIDE_NONE=on", "PLIMSOLL_OVERRIDE_EMPTY=", "PLIMSOLL_OVERRIDE_LATER=off",
	)
	dir := t.TempDir()
	inBubble(t, func(t *testing.T, a *app) {
		if a.wrote("level=WARN") != 1 || a.wrote(`flags="G LATER NEW_CHECKOUT NONE T_RKIS__2"`) != 1 {
			t.Errorf("want one warning that lists them:\n%s", a.logged())
		}
		a.server.Put(map[string]string{"new-checkout": off, "New.Checkout": off, "türkis-2": off, "newcheckout": off, "g": off, "empty": off})
		a.start()
		if n := a.provider.LocalOverrides(); n != 2 {
			t.Errorf("%d flags are overridden, want 2", n)
		}
		if d := a.bool("türkis-2", false); d.Value {
			t.Errorf("türkis-2 is %+v: ü is two bytes", d)
		}
		for key, want := range map[string]bool{"new-checkout": true, "New.Checkout": true, "newcheckout": false, "g": false, "empty": false} {
			d := a.bool(key, !want)
			if d.Value != want || (d.Reason == "OVERRIDE") != want {
				t.Errorf("%s is %+v, want %v", key, d, want)
			}
		}
		if a.wrote("a variant that the flag does not have") != 1 || a.wrote("names no flag") != 3 {
			t.Errorf("want warnings for G, and for NONE, LATER and T_RKIS__2:\n%s", a.logged())
		}

		// They are on top of whatever servers say, and of flags that come later.
		a.server.Change(&plimsollv1.StateChange{Overrides: []*plimsollv1.OverrideState{{FlagKey: "new-checkout", Variant: "off"}}})
		a.server.Put(map[string]string{"later": on})
		a.after(time.Second)
		if d := a.bool("new-checkout", false); !d.Value {
			t.Errorf("new-checkout is %+v, want the environment's", d)
		}
		if d := a.bool("later", true); d.Value || a.provider.LocalOverrides() != 3 {
			t.Errorf("later is %+v, and %d are overridden", d, a.provider.LocalOverrides())
		}
		a.after(time.Minute)
		if n := a.wrote("level=WARN"); n != 5 {
			t.Errorf("%d warnings, want each once:\n%s", n, a.logged())
		}
		a.server.Stop()
		a.after(time.Minute)
		if d := a.bool("New.Checkout", false); !d.Value || d.FlagMetadata["source"] != "memory" {
			t.Errorf("New.Checkout is %+v without a server", d)
		}
		a.leave()

		// The cache has what the server said.
		a.use(sdk.WithCacheDir(dir), sdk.WithEnviron())
		a.wantSource("New.Checkout", false, "cache")
		a.wantSource("new-checkout", false, "cache")
		if n := a.provider.LocalOverrides(); n != 0 {
			t.Errorf("%d are overridden", n)
		}
	}, environ, sdk.WithCacheDir(dir))
}

func TestOverridesOfAFile(t *testing.T) {
	path := document(t, `{"flags":{"f":`+on+`}}`)
	p, err := sdk.NewProvider(sdk.WithFile(path), sdk.WithEnviron("PLIMSOLL_OVERRIDE_F=off"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Init(openfeature.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}
	defer p.Shutdown()
	if d := p.BooleanEvaluation(t.Context(), "f", true, nil); d.Value || d.Reason != "OVERRIDE" {
		t.Errorf("f is %+v, want it overridden", d)
	}
}
