package flag

import (
	"bytes"
	"encoding/hex"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func encodeCBOR(x any) ([]byte, bool) {
	e := evaluation{steps: maxSteps}
	return e.appendCBOR(nil, contextValue(x), 0)
}

// drawData is any data that JSON can hold.
func drawData(t *rapid.T, depth int) any {
	choices := 6
	if depth > 0 {
		choices = 8
	}
	switch rapid.IntRange(0, choices-1).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.String().Draw(t, "string")
	case 3:
		return rapid.Float64().Draw(t, "number")
	case 4:
		return float64(rapid.Float32().Draw(t, "single"))
	case 5:
		return float64(rapid.Int64().Draw(t, "whole") >> rapid.IntRange(0, 63).Draw(t, "shift"))
	case 6:
		list := make([]any, rapid.IntRange(0, 40).Draw(t, "length")%7)
		for i := range list {
			list[i] = drawData(t, depth-1)
		}
		return list
	default:
		m := map[string]any{}
		for range rapid.IntRange(0, 5).Draw(t, "size") {
			m[rapid.String().Draw(t, "name")] = drawData(t, depth-1)
		}
		return m
	}
}

// whole makes integers of whole numbers, as generation v3 prescribes.
func whole(x any) any {
	switch x := x.(type) {
	case float64:
		switch {
		case x != math.Trunc(x) || x < -1<<63 || x >= 1<<64:
			return x
		case x >= 0:
			return uint64(x)
		default:
			return int64(x)
		}
	case []any:
		list := make([]any, len(x))
		for i := range x {
			list[i] = whole(x[i])
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(x))
		for name := range x {
			m[name] = whole(x[name])
		}
		return m
	default:
		return x
	}
}

// Encodings agree with a well-kept library's.
func TestCBORAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := drawData(t, 3)
		got, ok := encodeCBOR(data)
		want, err := secondCBOR.Marshal(whole(data))
		if err != nil {
			t.Fatal(err)
		}
		if !ok || !bytes.Equal(got, want) {
			t.Fatalf("%#v is %x (%v), want %x", data, got, ok, want)
		}
	})
}

func FuzzCBORFloat(f *testing.F) {
	for _, seed := range []float64{0, math.Copysign(0, -1), 1, -1, 0.5, 1.1, 65504, 65505.5, 5.960464477539063e-8, 6e-8, 1e300, math.Inf(1), math.NaN(), 1 << 63, 1 << 64, -1 << 63, 3.4028234663852886e38} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, x float64) {
		got, ok := encodeCBOR(x)
		want, err := secondCBOR.Marshal(whole(x))
		if err != nil {
			t.Fatal(err)
		}
		if !ok || !bytes.Equal(got, want) {
			t.Fatalf("%v is %x, want %x", x, got, want)
		}
	})
}

// Examples of RFC 8949, appendix A, and integers that only Go's own types hold.
func TestCBORExamples(t *testing.T) {
	for _, c := range []struct {
		data any
		want string
	}{
		{0, "00"}, {23, "17"}, {24, "1818"}, {1000, "1903e8"}, {-1, "20"}, {-1000, "3903e7"}, {1.5, "f93e00"}, {100000.5, "fa47c35040"}, {1.1, "fb3ff199999999999a"},
		{"", "60"}, {"ü", "62c3bc"}, {[]any{1, 2}, "820102"}, {map[string]any{"b": 1, "a": 2, "aa": 3}, "a3616102616201626161" + "03"},
		{int64(math.MaxInt64), "1b7fffffffffffffff"}, {int64(math.MinInt64), "3b7fffffffffffffff"}, {uint64(math.MaxUint64), "1bffffffffffffffff"}, {int64(1<<53 + 1), "1b0020000000000001"},
		{math.Copysign(0, -1), "00"}, {true, "f5"}, {false, "f4"}, {nil, "f6"}, {[]string{"a"}, "816161"},
	} {
		if got, ok := encodeCBOR(c.data); !ok || hex.EncodeToString(got) != c.want {
			t.Errorf("%#v is %x, want %s", c.data, got, c.want)
		}
	}
}
