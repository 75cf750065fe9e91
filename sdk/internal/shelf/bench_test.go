package shelf

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// large is a set of n flags, half of them with targeting.
func large(n int) *flag.Set {
	u := flag.Update{Reset: true, Epoch: 1, Revision: 1}
	for i := range n {
		text := on
		if i%2 == 0 {
			text = fmt.Sprintf(`{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","targeting":{"if":[{"in":[{"var":"country"},["de","fr","%d"]]},"on",{"fractional":[["on",25],["off",75]]}]},"degradation":{"tier":"optional"},"metadata":{"team":"t%d"}}`, i, i%50)
		}
		u.Flags = append(u.Flags, flag.Source{Key: fmt.Sprintf("team-%d/feature-%06d", i%50, i), JSON: text})
	}
	s, _ := flag.Empty().With(u, time.Now())
	return s
}

func BenchmarkWrite100000(b *testing.B) {
	dir := b.TempDir()
	saved := Saved{Set: large(100_000), Store: store1, namespace: "shop", at: time.Now()}
	b.ReportAllocs()
	for b.Loop() {
		if err := writeFile(filepath.Join(dir, "f"), filepath.Join(dir, "t"), "", saved); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad100000(b *testing.B) {
	dir := b.TempDir()
	shelf := New(dir, "shop", slog.New(slog.DiscardHandler))
	shelf.Put(large(100_000), store1, false)
	shelf.write()
	shelf.release()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := shelf.Load(); !ok {
			b.Fatal("nothing was loaded")
		}
	}
}
