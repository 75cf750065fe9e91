package manifest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// objectsOf names what a document has, rules in their order.
func objectsOf(d *flag.Document) []string {
	var out []string
	if d.HasMetadata {
		out = append(out, "metadata")
	}
	for _, r := range d.Evaluators {
		out = append(out, "e/"+r.Name())
	}
	for _, r := range d.Segments {
		out = append(out, "s/"+r.Name())
	}
	for _, f := range d.Flags {
		out = append(out, f.Key())
	}
	return out
}

const chain = `
metadata: {team: web}
$evaluators:
  outer: {and: [{$ref: inner}, {segment: leaf}]}
  inner: {"!": [{segment: leaf}]}
segments:
  leaf: {in: [{var: country}, [DE, AT, CH]]}
flags:
  a: {state: ENABLED, variants: {"on": true}, targeting: {if: [{$ref: outer}, "on"]}}
  b: {state: ENABLED, variants: {"on": true}}
  c: {state: ENABLED, variants: {"on": true}, targeting: {if: [{segment: leaf}, "on"]}}
`

func TestOneChunk(t *testing.T) {
	write(t, map[string]string{"f.yaml": chain})
	chunks := read(t, "f.yaml").Chunks(1 << 20)
	if len(chunks) != 1 {
		t.Fatalf("%d chunks, want 1", len(chunks))
	}
	want := []string{"metadata", "e/inner", "e/outer", "s/leaf", "a", "b", "c"}
	if diff := cmp.Diff(want, objectsOf(chunks[0].Write)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, objectsOf(chunks[0].Check)); diff != "" {
		t.Error(diff)
	}
	if chunks[0].Objects() != 7 {
		t.Errorf("%d objects, want 7", chunks[0].Objects())
	}
}

// TestChunksInOrder: with room for next to nothing, everything goes alone,
// after what it refers to, and is checked together with that.
func TestChunksInOrder(t *testing.T) {
	write(t, map[string]string{"f.yaml": chain})
	var writes, checks [][]string
	for _, c := range read(t, "f.yaml").Chunks(1) {
		writes = append(writes, objectsOf(c.Write))
		checks = append(checks, objectsOf(c.Check))
		if len(writes) > 1 && !c.Writes("flags/a") {
			t.Error("flags are written by the chunk that has them")
		}
	}
	if diff := cmp.Diff([][]string{{"metadata"}, {"s/leaf"}, {"e/inner"}, {"e/outer"}, {"a"}, {"b"}, {"c"}}, writes); diff != "" {
		t.Error(diff)
	}
	want := [][]string{{"metadata"}, {"s/leaf"}, {"e/inner", "s/leaf"}, {"e/inner", "e/outer", "s/leaf"}, {"e/inner", "e/outer", "s/leaf", "a"}, {"b"}, {"s/leaf", "c"}}
	for i := range checks {
		slices.Sort(checks[i])
		slices.Sort(want[i])
	}
	if diff := cmp.Diff(want, checks); diff != "" {
		t.Error(diff)
	}
}

// TestChunkSizes: every chunk is within the limit, everything is in one and
// only one of them, and each can be understood by itself.
func TestChunkSizes(t *testing.T) {
	var b strings.Builder
	b.WriteString("segments:\n")
	for i := range 20 {
		fmt.Fprintf(&b, "  s%d: {in: [{var: id}, [%q]]}\n", i, strings.Repeat("x", 300))
	}
	b.WriteString("flags:\n")
	for i := range 500 {
		fmt.Fprintf(&b, "  f%03d: {state: ENABLED, variants: {\"on\": true}, targeting: {if: [{segment: s%d}, \"on\"]}}\n", i, i%20)
	}
	write(t, map[string]string{"f.yaml": b.String()})
	const limit = 8 << 10
	chunks := read(t, "f.yaml").Chunks(limit)
	if len(chunks) < 5 {
		t.Fatalf("only %d chunks", len(chunks))
	}
	seen := make(map[string]int)
	for i, c := range chunks {
		for _, doc := range []*flag.Document{c.Write, c.Check} {
			if n := len(doc.JSON()); n > limit+64 { // the names of its fields
				t.Errorf("chunk %d has %d bytes, limit %d", i, n, limit)
			}
		}
		if _, faults := flag.ParseDocument([]byte(c.Check.JSON()), flag.Env{HasSegment: func(string) bool { return false }}); faults.Err() != nil {
			t.Errorf("chunk %d cannot be checked alone: %v", i, faults)
		}
		for _, o := range objectsOf(c.Write) {
			seen[o]++
		}
	}
	if len(seen) != 520 {
		t.Errorf("%d objects are written, want 520", len(seen))
	}
	for o, n := range seen {
		if n != 1 {
			t.Errorf("%s is written %d times", o, n)
		}
	}
}

func TestCycleIsCut(t *testing.T) {
	write(t, map[string]string{
		"a.yaml": "segments: {a: {\"!\": [{segment: b}]}}",
		"b.yaml": "segments: {b: {\"!\": [{segment: a}]}}",
	})
	chunks := read(t, "a.yaml", "b.yaml").Chunks(1)
	if len(chunks) != 2 || len(chunks[0].Check.Segments) != 2 {
		t.Errorf("%d chunks, want 2 with both rules in each check", len(chunks))
	}
}
