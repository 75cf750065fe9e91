package flag

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/murmur3"
	"pgregory.net/rapid"
)

// A second implementation of each generation of fractional, written from the
// description and sharing nothing with the first.

// secondMurmur is murmur3, x86, 32 bits, seed 0 (Appleby, 2011).
func secondMurmur(data []byte) uint32 {
	const c1, c2 = 0xcc9e2d51, 0x1b873593
	var h uint32
	rest := data
	for ; len(rest) >= 4; rest = rest[4:] {
		k := binary.LittleEndian.Uint32(rest) * c1
		h ^= bits.RotateLeft32(k, 15) * c2
		h = bits.RotateLeft32(h, 13)*5 + 0xe6546b64
	}
	var tail uint32
	for i := len(rest) - 1; i >= 0; i-- {
		tail = tail<<8 | uint32(rest[i])
	}
	if len(rest) > 0 {
		h ^= bits.RotateLeft32(tail*c1, 15) * c2
	}
	h ^= uint32(len(data))
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}

var secondCBOR = func() cbor.EncMode {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

// secondBucket is the index of the bucket for the key of a flag and a targeting
// key, by each generation's own rule.
func secondBucket(generation Bucketing, flagKey, targetingKey string, weights []int) int {
	total := 0
	for _, w := range weights {
		total += w
	}
	hashed := []byte(flagKey + targetingKey)
	if generation == V3 {
		encoded, err := secondCBOR.Marshal([]string{flagKey, targetingKey})
		if err != nil {
			panic(err)
		}
		hashed = encoded
	}
	hash := secondMurmur(hashed)
	if generation == V1 {
		percent := math.Abs(float64(int32(hash))) / float64(math.MaxInt32) * 100
		reached := 0.0
		for i, w := range weights {
			reached += float64(w) * 100 / float64(total)
			if percent < reached {
				return i
			}
		}
		return -1
	}
	high, _ := bits.Mul64(uint64(hash)<<32, uint64(total)) // floor(hash/2^32 × total)
	for i, w := range weights {
		if high < uint64(w) {
			return i
		}
		high -= uint64(w)
	}
	return -1
}

func weightsRule(weights []int) string {
	args := make([]any, len(weights))
	for i, w := range weights {
		args[i] = []any{fmt.Sprint("v", i), w}
	}
	return encode(map[string]any{"fractional": args})
}

// keys are targeting keys of many kinds, the i-th of them.
func targetingKeyAt(i int) string {
	switch i % 5 {
	case 0:
		return fmt.Sprintf("user-%d", i)
	case 1:
		return fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i*7919)
	case 2:
		return fmt.Sprintf("пользователь%d", i)
	case 3:
		return fmt.Sprintf("利用者%d𝒳", i)
	default:
		return fmt.Sprint(i)
	}
}

// TestFractionalAgrees asks both implementations for a million keys in each
// generation.
func TestFractionalAgrees(t *testing.T) {
	keys := 1_000_000
	if testing.Short() {
		keys = 50_000
	}
	weights := []int{1, 0, 333, 20, 646}
	for _, generation := range []Bucketing{V1, V2, V3} {
		s := setWith(t, Update{
			Settings: &Settings{Bucketing: generation},
			Flags:    []Source{{"fläg", `{"state":"ENABLED","variants":{"v0":"0","v1":"1","v2":"2","v3":"3","v4":"4"},"targeting":` + weightsRule(weights) + `}`}},
		})
		ctx := map[string]any{}
		for i := range keys {
			key := targetingKeyAt(i)
			ctx[targetingKey] = key
			want := fmt.Sprint("v", secondBucket(generation, "fläg", key, weights))
			if got := s.String("fläg", "", ctx); got.Variant != want {
				t.Fatalf("generation %s, key %q: %s (%s), want %s", generation, key, got.Variant, got.Message, want)
			}
		}
	}
}

func TestMurmurAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		if got, want := murmur3.Sum32(data), secondMurmur(data); got != want {
			t.Fatalf("murmur3 of %x is %x, want %x", data, got, want)
		}
	})
	// From the definition's own verification value: the hashes of the keys
	// {}, {0}, {0,1}, … with seed 256−length, hashed again. Only seed 0 is
	// needed here, so fixed points are taken instead.
	for text, want := range map[string]uint32{"": 0, "test": 0xba6bd213, "Hello, world!": 0xc0363e43} {
		if got := secondMurmur([]byte(text)); got != want {
			t.Errorf("murmur3 of %q is %#x, want %#x", text, got, want)
		}
	}
}

// Shares are within five standard deviations of what the weights say.
func TestFractionalShares(t *testing.T) {
	const keys = 200_000
	weights := []int{5, 15, 30, 50}
	for _, generation := range []Bucketing{V1, V2, V3} {
		counts := make([]int, len(weights))
		s := setWith(t, Update{
			Settings: &Settings{Bucketing: generation},
			Flags:    []Source{{"f", `{"state":"ENABLED","variants":{"v0":"0","v1":"1","v2":"2","v3":"3"},"targeting":` + weightsRule(weights) + `}`}},
		})
		for i := range keys {
			var index int
			if _, err := fmt.Sscanf(s.String("f", "", map[string]any{targetingKey: fmt.Sprint("u", i)}).Variant, "v%d", &index); err != nil {
				t.Fatal(err)
			}
			counts[index]++
		}
		for i, w := range weights {
			p := float64(w) / 100
			if deviation := math.Abs(float64(counts[i]) - keys*p); deviation > 5*math.Sqrt(keys*p*(1-p)) {
				t.Errorf("generation %s: bucket %d of %d %% holds %d of %d", generation, i, w, counts[i], keys)
			}
		}
	}
}

// Growing the first bucket at the cost of the last only ever moves keys into it.
func TestFractionalIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		generation := rapid.SampledFrom([]Bucketing{V1, V2, V3}).Draw(t, "generation")
		a := rapid.IntRange(0, 1000).Draw(t, "share")
		b := rapid.IntRange(a, 1000).Draw(t, "larger share")
		ctx := map[string]any{targetingKey: rapid.StringN(1, 20, -1).Draw(t, "key")}
		in := func(share int) bool {
			v, err := evalRule(weightsRule([]int{share, 1000 - share}), ctx, generation)
			if err != nil {
				t.Fatal(err)
			}
			return v.str() == "v0"
		}
		if in(a) && !in(b) {
			t.Fatalf("generation %s, %q: in at %d, out at %d", generation, ctx[targetingKey], a, b)
		}
	})
}

// Buckets of known keys never change: these are the same in every process and
// release, or users change sides.
func TestFractionalIsFixed(t *testing.T) {
	rule := weightsRule([]int{25, 25, 25, 25})
	for generation, want := range map[Bucketing]string{V1: "v3v3v3v2v0v2", V2: "v2v2v1v1v3v2", V3: "v0v3v2v1v3v1"} {
		var got string
		for _, key := range []string{"ann", "bob", "cem", "dör", "日本", "user-1"} {
			v, err := evalRule(rule, map[string]any{targetingKey: key}, generation)
			if err != nil {
				t.Fatal(err)
			}
			got += v.str()
		}
		if got != want {
			t.Errorf("generation %s: %s, want %s", generation, got, want)
		}
	}
}

// What may stand as the bucketing value, by generation.
func TestBucketingValue(t *testing.T) {
	ctx := map[string]any{
		targetingKey: "k", "s": "text", "n": 42.0, "b": true, "o": map[string]any{"a": 1.0}, "z": nil, "e": "", "l": []any{"v0", 1.0},
	}
	buckets := `["v0",1],["v1",1],["v2",1],["v3",1],["v4",1],["v5",1],["v6",1],["v7",1]`
	for _, c := range []struct {
		by         string
		generation Bucketing
		hashed     any // what is hashed: text, or a value that v3 encodes; nil: null
	}{
		{`{"var":"s"}`, V2, "text"}, {`{"var":"s"}`, V1, "text"}, {`{"var":"s"}`, V3, cborOf("text")},
		{`{"var":"e"}`, V2, ""}, {`{"var":"e"}`, V3, cborOf("")},
		{`{"var":"n"}`, V2, nil}, {`{"var":"n"}`, V3, cborOf(42)},
		{`{"var":"b"}`, V2, nil}, {`{"var":"b"}`, V3, cborOf(true)},
		{`{"var":"o"}`, V2, nil}, {`{"var":"o"}`, V3, cborOf(map[string]any{"a": 1})},
		{`{"var":"z"}`, V2, testKey + "k"}, {`{"var":"z"}`, V1, testKey + "k"}, {`{"var":"z"}`, V3, nil},
		{`null`, V2, testKey + "k"}, {`null`, V3, nil},
		{`["v0",1]`, V2, testKey + "k"}, {`["v0",1]`, V3, cborOf([]string{testKey, "k"})},
	} {
		v, err := evalRule(`{"fractional":[`+c.by+`,`+buckets+`]}`, ctx, c.generation)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if text, ok := c.hashed.(string); ok {
			want = bucketOf(c.generation, text, c.by == `["v0",1]`)
		}
		if v.str() != want {
			t.Errorf("by %s in generation %s: %s, want %s", c.by, c.generation, encode(lossless(v, ctx)), want)
		}
	}
}

func cborOf(v any) string {
	b, err := secondCBOR.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// bucketOf is the bucket of what is hashed among eight equal ones, or nine whose
// first two have the same variant.
func bucketOf(generation Bucketing, hashed string, nine bool) string {
	n := 8
	if nine {
		n = 9
	}
	hash := secondMurmur([]byte(hashed))
	i := int(uint64(hash) * uint64(n) >> 32)
	if generation == V1 {
		i = int(math.Abs(float64(int32(hash))) / math.MaxInt32 * float64(n))
	}
	if nine {
		i = max(i-1, 0)
	}
	return fmt.Sprint("v", i)
}

// What is malformed yields null and no error.
func TestFractionalMalformed(t *testing.T) {
	ctx := map[string]any{targetingKey: "k", "half": 1.5, "text": "1", "huge": 3e9, "list": []any{"a"}, "nan": math.NaN(), "inf": math.Inf(1)}
	for _, rule := range []string{
		`{"fractional":[]}`, `{"fractional":["salt"]}`, `{"fractional":[["a",0]]}`, `{"fractional":[["a",-5]]}`,
		`{"fractional":[["a",{"var":"half"}]]}`, `{"fractional":[["a",{"var":"text"}]]}`, `{"fractional":[["a",{"var":"huge"}]]}`,
		`{"fractional":[["a",{"var":"nan"}]]}`, `{"fractional":[["a",{"var":"inf"}]]}`, `{"fractional":[["a",true]]}`,
		`{"fractional":[["a",2147483647],["b",1]]}`, `{"fractional":[["a",1,1]]}`, `{"fractional":[[]]}`, `{"fractional":["s","a"]}`,
		`{"fractional":[[{"var":"list"},1]]}`, `{"fractional":[7,["a",1]]}`, `{"fractional":{"var":"none"}}`, `{"fractional":{"var":"text"}}`,
	} {
		if v, err := evalRule(rule, ctx, V2); err != nil || v.kind != kindNull {
			t.Errorf("%s: %v, %v; want null", rule, encode(lossless(v, ctx)), err)
		}
	}
	for _, noKey := range []map[string]any{nil, {targetingKey: ""}, {targetingKey: 7}, {targetingKey: nil}} {
		for _, generation := range []Bucketing{V1, V2, V3} {
			if v, err := evalRule(`{"fractional":[["a",1]]}`, noKey, generation); err != nil || v.kind != kindNull {
				t.Errorf("context %v: %v, %v; want null", noKey, encode(lossless(v, noKey)), err)
			}
		}
	}
}

// However the buckets come about, the answer is the same.
func TestFractionalForms(t *testing.T) {
	ctx := map[string]any{
		targetingKey: "k7", "a": "a", "w": 30.0, "bucket": []any{"a", 30.0}, "all": []any{[]any{"a", 30.0}, []any{"b", 70.0}},
		"salted": []any{"k7x", []any{"a", 30.0}, []any{"b", 70.0}}, "salt": "k7x",
	}
	for _, generation := range []Bucketing{V1, V2, V3} {
		for _, forms := range [][]string{{
			`{"fractional":[["a",30],["b",70]]}`, `{"fractional":[[{"var":"a"},30],["b",{"-":[100,{"var":"w"}]}]]}`,
			`{"fractional":[{"var":"bucket"},["b",70]]}`, `{"fractional":[["a",30],{"merge":["b",70]}]}`, `{"fractional":{"var":"all"}}`,
		}, {
			`{"fractional":["k7x",["a",30],["b",70]]}`, `{"fractional":[{"cat":[{"var":"targetingKey"},"x"]},["a",30],["b",70]]}`,
			`{"fractional":[{"var":"salt"},{"var":"bucket"},["b",70]]}`, `{"fractional":{"var":"salted"}}`,
		}} {
			var want string
			for i, rule := range forms {
				v, err := evalRule(rule, ctx, generation)
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					want = v.str()
				}
				if v.str() != want || want == "" {
					t.Errorf("generation %s: %s yields %q, want %q", generation, rule, v.str(), want)
				}
			}
		}
	}
}
