package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// near asks a handler without a network in between.
func near(h http.Handler) asker {
	return func(ctx context.Context, path string) answer {
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
		}()
		<-done
		switch {
		case ctx.Err() != nil:
			return late
		case w.Code != http.StatusOK:
			return refused
		}
		return good
	}
}

// TestWhatItShows, in fake time: with admission, what is most important is whole
// and the shop does all it can; without, nearly all pages come too late.
func TestWhatItShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, admitted, err := withAdmission(page())
		if err != nil {
			t.Fatal(err)
		}
		v := &visitors{shops: [2]asker{near(admitted), near(page())}, height: 2, length: 30 * time.Second, random: rand.New(rand.NewPCG(1, 2))}
		ctx, cancel := context.WithTimeout(t.Context(), v.length)
		defer cancel()
		v.come(ctx)

		var served [2]int64
		for p := range pages {
			for side := range v.shops {
				offered, sum := v.boards[side].offered[p].Load(), int64(0)
				for a := range answers {
					sum += v.boards[side].got[p][a].Load()
				}
				if sum != offered || offered == 0 {
					t.Errorf("%s: %d visitors came and %d were answered", pages[p].path, offered, sum)
				}
				served[side] += v.peak[side].got[p][good].Load()
			}
		}
		critical := v.peak[0].offered[0].Load()
		if got := v.peak[0].got[0][good].Load(); float64(got) < 0.99*float64(critical) {
			t.Errorf("with admission %d of %d critical pages came in time", got, critical)
		}
		if got := v.peak[1].got[0][good].Load(); float64(got) > 0.5*float64(critical) {
			t.Errorf("without admission %d of %d critical pages came in time: then what is this for?", got, critical)
		}
		if can := capacity * (v.length.Seconds()*3/5 - 1.5); float64(served[0]) < 0.9*can {
			t.Errorf("with admission %d pages were served, of %.0f that the shop can serve", served[0], can)
		}
	})
}

// TestItRunsAndEnds over real connections, by itself and when interrupted.
func TestItRunsAndEnds(t *testing.T) {
	for _, plain := range []bool{true, false} {
		var out strings.Builder
		if err := run(t.Context(), &out, settings{duration: 3500 * time.Millisecond, load: 1, plain: plain}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"critical", "with admission", "at 1.0 times the capacity"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("plain %v: %q is missing in\n%s", plain, want, out.String())
			}
		}
		if drawn := strings.Contains(out.String(), "\x1b["); drawn == plain {
			t.Errorf("plain %v, and escape sequences: %v", plain, drawn)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	if err := run(ctx, &out, settings{duration: time.Hour, load: 1}); err != nil || !strings.Contains(out.String(), "ended before the load") {
		t.Errorf("interrupted: %v, and prints %q", err, out.String())
	}
}

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"":                           "",
		"--load 2 --duration 1m":     "",
		"--plain":                    "",
		"--load 0":                   "--load 0: choose more than 0",
		"--load NaN":                 "--load NaN",
		"--load 1000":                "up to 10",
		"--duration 1s":              "--duration 1s: choose 4s to 1h",
		"--duration -5s":             "choose 4s to 1h",
		"--laod 2":                   "flag provided but not defined: -laod",
		"5":                          `no arguments such as "5"`,
		"--load":                     "flag needs an argument",
		"--duration 10 --load 2":     "invalid value",
		"--duration 10s --load five": "invalid value",
	} {
		var errs strings.Builder
		_, err := parse(strings.Fields(args), &errs)
		if (err != nil) != (want != "") || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: %v, and prints %q", args, err, errs.String())
		}
	}
}

// TestPictureIsAsTallEachTime, or it could not be drawn over the one before.
func TestPictureIsAsTallEachTime(t *testing.T) {
	v := &visitors{height: 5, length: 20 * time.Second}
	var now reading
	for p := range pages {
		now.offered[p], now.good[0][p], now.good[1][p] = 250, 1_000_000, 3
	}
	status := admission.Snapshot{CutOff: 1, Tiers: make([]admission.TierStatus, 4)}
	idle := admission.Snapshot{CutOff: 4, Tiers: make([]admission.TierStatus, 4)}
	busy, quiet := picture(v, 10*time.Second, reading{}, now, status), picture(v, 0, reading{}, reading{}, idle)
	if a, b := strings.Count(busy, "\n"), strings.Count(quiet, "\n"); a != b || !strings.HasSuffix(busy, "\n") {
		t.Errorf("%d lines, and %d:\n%s\n%s", a, b, busy, quiet)
	}
	for _, line := range strings.Split(busy+quiet, "\n") {
		if n := len([]rune(line)); n > 79 {
			t.Errorf("a line of %d columns would wrap: %s", n, line)
		}
	}
}
