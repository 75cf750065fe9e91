package store

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestTheMemberRefusesToFillItsDisk(t *testing.T) {
	opts := EmbeddedOptions{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
	e, err := StartEmbedded(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	for _, tc := range []struct {
		free uint64
		full bool
	}{{defaultMinFree, false}, {defaultMinFree - 1, true}, {0, true}} {
		e.free = func(string) (uint64, error) { return tc.free, nil }
		if err := e.Room(); errors.Is(err, ErrFull) != tc.full {
			t.Errorf("%d bytes free: %v", tc.free, err)
		}
	}
	if err := e.Room(); !strings.Contains(err.Error(), opts.Dir) {
		t.Errorf("error %q does not say which disk", err)
	}
}

func TestAFullBackendComesBackByItself(t *testing.T) {
	const quota = 4 << 20
	e, err := StartEmbedded(t.Context(), EmbeddedOptions{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), QuotaBytes: quota, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	s, err := Open(Options{Connect: func() (*clientv3.Client, error) { return e.Client(), nil }, KeepClient: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	<-s.Ready()
	write := func(i int) error {
		def := fmt.Sprintf(`{"state":"ENABLED","variants":{"a":"%d %s"},"defaultVariant":"a"}`, i, strings.Repeat("x", 60_000))
		_, _, err := s.UpdateFlag(t.Context(), DefaultNamespace, "f", FlagUpdate{Definition: &def}, Change{})
		return err
	}
	if _, _, err := s.CreateFlag(t.Context(), DefaultNamespace, "f", `{"state":"ENABLED","variants":{"a":"x"},"defaultVariant":"a"}`, Change{}); err != nil {
		t.Fatal(err)
	}
	i := 0
	for ; i < 500; i++ {
		if err = write(i); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("after %d writes: %v, want that the store is full", i, err)
	}
	if snap, err := s.Snapshot(DefaultNamespace); err != nil || snap.FlagCount() != 1 {
		t.Errorf("reads do not go on: %v, %v", snap, err)
	}
	// The audit log is most of it, and stays; an operator removes it, or raises
	// the quota. Here it is removed, to see that the rest follows by itself.
	if _, err := e.client.Delete(t.Context(), auditPrefix(DefaultNamespace), clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.maintainOnce(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := write(i + 1); err != nil {
		t.Errorf("after maintenance: %v", err)
	}
}
