// Package demo holds a believable shop's flags, for a first look.
package demo

import (
	"context"
	_ "embed"
	"fmt"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
	"github.com/plimsoll-dev/plimsoll/store"
)

//go:embed shop.json
var shop []byte

// Load applies the flags to the default namespace if it holds none. It returns
// how many were loaded.
func Load(ctx context.Context, s *store.Store) (int, error) {
	snap, err := s.Snapshot(store.DefaultNamespace)
	if err != nil {
		return 0, err
	}
	if snap.FlagCount() > 0 {
		return 0, nil
	}
	doc, faults := flag.ParseDocument(shop, snap.Env())
	if faults.Err() != nil {
		return 0, fmt.Errorf("the demo flags are not valid: %w", faults)
	}
	change := store.Change{
		Actor:  &plimsollv1.Actor{Name: "demo", Verified: true, Origin: "server"},
		Reason: "flags to look around with",
	}
	if _, err := s.Apply(ctx, store.DefaultNamespace, doc, store.ApplyOptions{}, change); err != nil {
		return 0, err
	}
	return len(doc.Flags), nil
}
