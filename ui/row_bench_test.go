package ui

import (
	"fmt"
	"testing"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// BenchmarkList measures a page of 10 000 flags: read for the first time, and
// filtered and rendered.
func BenchmarkList(b *testing.B) {
	flags := make([]*plimsollv1.Flag, 10_000)
	for i := range flags {
		flags[i] = &plimsollv1.Flag{Key: fmt.Sprintf("flag-%05d", i), Definition: fmt.Sprintf(`{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","degradation":{"tier":"optional","degradedVariant":"off","dependsOn":["ranker"]},"plimsoll":{"owner":"shop","description":"What flag %d does for those who have it","labels":{"kind":"release"}}}`, i)}
	}
	rows := newRows(flags)
	b.Run("case=read", func(b *testing.B) {
		for b.Loop() {
			rows = newRows(flags)
		}
	})
	v := &View{Namespace: "default", Rows: rows, Level: &plimsollv1.GetDegradationResponse{}}
	b.Run("case=page", func(b *testing.B) {
		for b.Loop() {
			l := v.list(filter{Query: "flag 99"}, v.Level.GetNow().AsTime())
			if err := flagList(v, l).Render(b.Context(), discard{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
