package admission

import (
	"context"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/baggage"
)

func TestClaimed(t *testing.T) {
	for _, tc := range []struct {
		name    string
		headers []string
		want    string
		times   int
	}{
		{"no header", nil, "", 0},
		{"nothing of ours", []string{"a=1,b=2"}, "", 0},
		{"alone", []string{"plimsoll-tier=critical"}, "critical", 1},
		{"between others, with space around", []string{"a=1 , plimsoll-tier = critical\t, b=2"}, "critical", 1},
		{"with properties", []string{"plimsoll-tier=critical;ttl=3;x"}, "critical", 1},
		{"percent-encoded", []string{"plimsoll-tier=very%20important"}, "very important", 1},
		{"in a second header", []string{"a=1", "plimsoll-tier=optional"}, "optional", 1},
		{"the last of several counts", []string{"plimsoll-tier=critical,plimsoll-tier=optional"}, "optional", 2},
		{"the last of several headers counts", []string{"plimsoll-tier=critical", "plimsoll-tier=optional"}, "optional", 2},
		{"malformed encoding is a claim of nothing", []string{"plimsoll-tier=%zz"}, "", 1},
		{"empty", []string{"plimsoll-tier="}, "", 1},
		{"without a value", []string{"plimsoll-tier"}, "", 0},
		{"another case is another key", []string{"Plimsoll-Tier=critical"}, "", 0},
		{"a longer key", []string{"xplimsoll-tier=critical"}, "", 0},
		{"as somebody else's value", []string{"a=plimsoll-tier=critical"}, "", 0},
		{"as somebody else's property", []string{"a=1;plimsoll-tier=critical"}, "", 0},
		{"only separators", []string{",,,;;==,"}, "", 0},
		{"8 KiB and a byte are not read", []string{"plimsoll-tier=critical," + strings.Repeat("x", maxBaggage)}, "", 1},
		{"nor what follows 8 KiB", []string{strings.Repeat("x", maxBaggage), "plimsoll-tier=critical"}, "", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if name, times := claimed(tc.headers); name != tc.want || times != tc.times {
				t.Errorf("claimed: %q %d times, want %q %d times", name, times, tc.want, tc.times)
			}
		})
	}
}

func TestClaimedAllocatesNothing(t *testing.T) {
	headers := []string{"userid=alice,plimsoll-tier=critical;p=1", strings.Repeat("k=v,", 1000)}
	if n := testing.AllocsPerRun(100, func() { claimed(headers) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWithTier(t *testing.T) {
	for _, tc := range []struct {
		name, tier string
		headers    []string
		want       string
	}{
		{"alone", "critical", nil, "plimsoll-tier=critical"},
		{"others stay as they are", "critical", []string{"a=1;p=%20 , b=2", "c=3"}, "plimsoll-tier=critical,a=1;p=%20,b=2,c=3"},
		{"every claim is replaced", "optional", []string{"plimsoll-tier=critical,a=1, plimsoll-tier =x"}, "plimsoll-tier=optional,a=1"},
		{"a name that needs encoding", "very important, really;=1", nil, "plimsoll-tier=very%20important%2C%20really%3B=1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := withTier(tc.headers, tc.tier)
			if got != tc.want {
				t.Errorf("withTier:\n%s\nwant\n%s", got, tc.want)
			}
			if back, times := claimed([]string{got}); back != tc.tier || times != 1 {
				t.Errorf("read again: %q, %d times", back, times)
			}
			parsed, err := baggage.Parse(got)
			if err != nil || parsed.Member(BaggageKey).Value() != tc.tier {
				t.Errorf("OpenTelemetry reads %q, %v", parsed.Member(BaggageKey).Value(), err)
			}
		})
	}
}

// TestWithTierKeepsTheLimits sends on as much as everybody has to take, and the
// tier first.
func TestWithTierKeepsTheLimits(t *testing.T) {
	long := "k=" + strings.Repeat("v", 1000)
	many := strings.Repeat("k=v,", 200)
	for _, headers := range [][]string{{long, long, long, long, long, long, long, long, long}, {many}, {strings.Repeat("z", 9000)}} {
		got := withTier(headers, "standard")
		if n := strings.Count(got, ",") + 1; len(got) > maxBaggage || n > maxBaggageMembers || !strings.HasPrefix(got, "plimsoll-tier=standard") {
			t.Errorf("%d bytes, %d members: %.60s…", len(got), n, got)
		}
		if strings.HasSuffix(got, ",") {
			t.Errorf("an empty member: …%s", got[len(got)-20:])
		}
	}
}

func TestTierInTheContext(t *testing.T) {
	if rank, ok := TierFromContext(t.Context()); ok {
		t.Errorf("a plain context has tier %d", rank)
	}
	ctx := ContextWithTier(t.Context(), 2)
	if rank, ok := TierFromContext(ctx); rank != 2 || !ok {
		t.Errorf("tier %d, %v", rank, ok)
	}
	if rank, _ := TierFromContext(ContextWithTier(ctx, -1)); rank != 0 {
		t.Errorf("a negative rank became %d", rank)
	}
}

func TestOpenTelemetrysBaggageIsCorrected(t *testing.T) {
	claimed, err := baggage.Parse("plimsoll-tier=critical,a=1")
	if err != nil {
		t.Fatal(err)
	}
	member, err := baggage.NewMemberRaw(BaggageKey, "optional")
	if err != nil {
		t.Fatal(err)
	}
	got := baggage.FromContext(withOTelTier(baggage.ContextWithBaggage(context.Background(), claimed), member))
	if got.Member(BaggageKey).Value() != "optional" || got.Member("a").Value() != "1" {
		t.Errorf("baggage %s", got)
	}
}

func FuzzBaggage(f *testing.F) {
	f.Add("a=1,plimsoll-tier=critical;p", "standard")
	f.Add(",,=;%zz,plimsoll-tier=%", "very important")
	f.Fuzz(func(t *testing.T, header, tier string) {
		claimed([]string{header})
		got := withTier([]string{header}, tier)
		if len(tier) > 100 {
			return
		}
		if name, times := claimed([]string{got}); name != tier || times != 1 {
			t.Errorf("%q with tier %q is %q, and names %q %d times", header, tier, got, name, times)
		}
	})
}
