package degrade_test

import (
	"testing"

	"github.com/plimsoll-dev/plimsoll/degrade"
	"pgregory.net/rapid"
)

func TestParseLevel(t *testing.T) {
	for text, want := range map[string]degrade.Level{
		"0": 0, "0.4": 400_000, "1": degrade.One, "1.25": 1_250_000, "0.000001": 1, "7": 7 * degrade.One, "00.50": 500_000,
	} {
		if got, err := degrade.ParseLevel(text); err != nil || got != want {
			t.Errorf("ParseLevel(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", ".", "1.", ".5", "-1", "+1", "1e3", "0x1", "NaN", "Inf", "0.0000001", "7.000001", "99999999999999999999", "1 ", "1,5", "٣"} {
		if got, err := degrade.ParseLevel(text); err == nil {
			t.Errorf("ParseLevel(%q) = %d, want an error", text, got)
		}
	}
}

func TestLevelText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		level := degrade.Level(rapid.Uint32Range(0, 7_000_000).Draw(t, "level"))
		text, err := level.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back degrade.Level
		if err := back.UnmarshalText(text); err != nil || back != level {
			t.Fatalf("%d became %s and then %d (%v)", level, text, back, err)
		}
	})
	for level, want := range map[degrade.Level]string{0: "0", 400_000: "0.4", 1_250_000: "1.25", 2_000_000: "2", 1: "0.000001"} {
		if got := level.String(); got != want {
			t.Errorf("%d is %q, want %q", level, got, want)
		}
	}
}

func FuzzParseLevel(f *testing.F) {
	for _, seed := range []string{"0.4", "1.25", "-1", "1e9", "7.0000001"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		level, err := degrade.ParseLevel(text)
		if err != nil {
			return
		}
		if back, err := degrade.ParseLevel(level.String()); err != nil || back != level {
			t.Fatalf("%q is %d, and its text %q is %d (%v)", text, level, level, back, err)
		}
	})
}

func TestShedFraction(t *testing.T) {
	for _, c := range []struct {
		level     degrade.Level
		rank, n   int
		want      uint32
		statement string
	}{
		{400_000, 3, 3, 400_000, "level 0.4 sheds 40 % of the least important tier"},
		{400_000, 2, 3, 0, "and nothing above it"},
		{1_250_000, 3, 3, 1_000_000, "level 1.25 sheds all of the least important"},
		{1_250_000, 2, 3, 250_000, "and a quarter of the next"},
		{3_000_000, 1, 3, 1_000_000, "the deepest level sheds all but rank 0"},
		{3_000_000, 0, 3, 0, "rank 0 is never shed"},
		{9_000_000, 0, 3, 0, "not even beyond the deepest level"},
		{3_000_000, -1, 3, 0, "nor is a tier that does not exist"},
		{3_000_000, 4, 3, 0, "nor one below the last"},
	} {
		if got := degrade.ShedFraction(c.level, c.rank, c.n); got != c.want {
			t.Errorf("%s: got %d, want %d", c.statement, got, c.want)
		}
	}
}

// Raising the level never sheds less, and more important tiers are never shed
// before less important ones.
func TestShedFractionIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(t, "sheddable")
		rank := rapid.IntRange(0, n).Draw(t, "rank")
		a := degrade.Level(rapid.Uint32Range(0, 8_000_000).Draw(t, "level"))
		b := a + degrade.Level(rapid.Uint32Range(0, 1_000_000).Draw(t, "raise"))
		if degrade.ShedFraction(a, rank, n) > degrade.ShedFraction(b, rank, n) {
			t.Fatalf("rank %d of %d is shed less at %s than at %s", rank, n, b, a)
		}
		if rank < n && degrade.ShedFraction(a, rank, n) > 0 && degrade.ShedFraction(a, rank+1, n) != uint32(degrade.One) {
			t.Fatalf("at %s rank %d of %d is shed while rank %d is not wholly", a, rank, n, rank+1)
		}
	})
}
