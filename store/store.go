package store

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

// Options configure a store. Connect is required; the zero value of everything
// else works.
type Options struct {
	// Connect makes the etcd client, and is called until it succeeds. Close
	// ends the client, unless KeepClient is set.
	Connect func() (*clientv3.Client, error)
	// KeepClient leaves the client to whoever made it.
	KeepClient bool
	// Logger gets what an operator must know; default: slog.Default.
	Logger *slog.Logger
	// Now is the clock that records and expiries go by; default: time.Now.
	Now func() time.Time
	// CacheDir, if set, is a folder that keeps the last snapshot of every
	// namespace, so that the store can be opened while etcd is out of reach.
	CacheDir string
	// Room, if set, is asked before every write and refuses it with its error.
	Room func() error
	// ConfirmEvery is how often etcd is asked to confirm that the view is
	// current; default: 5 s.
	ConfirmEvery time.Duration
	// Limits on what may be stored; zero fields: the defaults.
	Limits Limits
}

// requestTimeout bounds every single request to etcd.
const requestTimeout = 5 * time.Second

// Store is Plimsoll's state in etcd and this process's view of it. It is safe
// for concurrent use.
type Store struct {
	connect func() (*clientv3.Client, error)
	keep    bool
	// client is nil until the first connection.
	client  atomic.Pointer[clientv3.Client]
	log     *slog.Logger
	now     func() time.Time
	room    func() error
	cache   *diskCache
	confirm time.Duration
	limits  Limits

	identity atomic.Pointer[plimsollv1.StoredIdentity]
	// view is the newest snapshot of every namespace; the map is replaced, not
	// modified, and only by the goroutine that follows etcd.
	view atomic.Pointer[map[string]*Snapshot]
	// servers are those that are registered, and were; replaced as view is.
	servers atomic.Pointer[roster]
	// created is set when this process has created the store.
	created atomic.Bool
	// viewChanged is closed, and replaced, whenever the view is.
	viewChanged atomic.Pointer[chan struct{}]
	// ready is closed once there is a view, from etcd or from the cache.
	ready     chan struct{}
	readyOnce sync.Once
	// confirmedAt is when etcd last confirmed the view; nil: never. It has the
	// clock's monotonic part, so that setting the clock does not age it.
	confirmedAt atomic.Pointer[time.Time]
	// stale is set while the view comes from the disk cache.
	stale atomic.Bool
	// trouble is the last error of following etcd; nil while all is well.
	trouble atomic.Pointer[error]
	// full is the error of the last write, if etcd's backend had no room for it.
	full atomic.Pointer[error]

	writers writers
	tails   tails

	stop context.CancelFunc
	done sync.WaitGroup
}

// Open starts following etcd and returns at once; [Store.Ready] tells when
// there is something to read. Close stops it.
func Open(opts Options) (*Store, error) {
	if opts.Connect == nil {
		return nil, errors.New("store: no way to connect to etcd")
	}
	s := &Store{
		connect: opts.Connect,
		keep:    opts.KeepClient,
		log:     opts.Logger,
		now:     opts.Now,
		room:    opts.Room,
		confirm: opts.ConfirmEvery,
		limits:  opts.Limits.withDefaults(),
		ready:   make(chan struct{}),
		tails:   tails{byNS: make(map[string]map[*tail]struct{})},
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.confirm == 0 {
		s.confirm = 5 * time.Second
	}
	s.view.Store(&map[string]*Snapshot{})
	s.servers.Store(new(roster))
	changed := make(chan struct{})
	s.viewChanged.Store(&changed)
	s.identity.Store(&plimsollv1.StoredIdentity{})
	if opts.CacheDir != "" {
		cache, err := openDiskCache(opts.CacheDir, s.log)
		if err != nil {
			return nil, err
		}
		s.cache = cache
		s.startFromCache()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.done.Go(func() { s.follow(ctx) })
	s.done.Go(func() { s.expire(ctx) })
	if s.cache != nil {
		s.done.Go(func() { s.writeCache(ctx) })
	}
	return s, nil
}

// Close stops all of the store's goroutines and waits for them.
func (s *Store) Close() {
	s.stop()
	s.done.Wait()
	s.tails.close(ErrClosed)
	if client := s.client.Load(); client != nil && !s.keep {
		if err := client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			s.log.Warn("close the etcd client", "error", err)
		}
	}
	if s.cache != nil {
		s.cache.close()
	}
}

// Ready is closed once every namespace can be read.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Identity is the store's random id and its epoch; empty before Ready.
func (s *Store) Identity() (id string, epoch uint64) {
	v := s.identity.Load()
	return v.GetId(), v.GetEpoch()
}

// Snapshot returns the newest state of a namespace.
func (s *Store) Snapshot(ns string) (*Snapshot, error) {
	if snap := (*s.view.Load())[ns]; snap != nil {
		return snap, nil
	}
	select {
	case <-s.ready:
	default:
		return nil, ErrUnavailable
	}
	return nil, &NotFoundError{Kind: "namespace", Name: ns, Nearest: nearest(ns, s.Namespaces())}
}

// Changed returns a channel that is closed once any namespace, or the list of
// servers, has changed.
func (s *Store) Changed() <-chan struct{} { return *s.viewChanged.Load() }

// Namespaces returns the names of all namespaces, sorted.
func (s *Store) Namespaces() []string { return slices.Sorted(maps.Keys(*s.view.Load())) }

// Health is how a store is.
type Health struct {
	// ConfirmedAge is how long ago etcd confirmed the view; negative: never.
	ConfirmedAge time.Duration
	// Stale means that the view comes from the cache on disk, and that nothing
	// can be written.
	Stale bool
	// Trouble is why etcd is not being followed; nil: it is.
	Trouble error
	// NoRoom is why writes are refused; nil: they are not.
	NoRoom error
}

// Health tells how the store is.
func (s *Store) Health() Health {
	h := Health{ConfirmedAge: -1, Stale: s.stale.Load()}
	if at := s.confirmedAt.Load(); at != nil {
		h.ConfirmedAge = max(0, s.now().Sub(*at))
	}
	if err := s.trouble.Load(); err != nil {
		h.Trouble = *err
	}
	if s.room != nil {
		h.NoRoom = s.room()
	}
	if err := s.full.Load(); err != nil && h.NoRoom == nil {
		h.NoRoom = *err
	}
	return h
}

// Size is the size of etcd's backend in bytes, and how much of it is in use.
func (s *Store) Size(ctx context.Context) (size, inUse int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	st, err := s.status(ctx)
	if err != nil {
		return 0, 0, wrapEtcd("ask etcd for its size", err)
	}
	return st.DbSize, st.DbSizeInUse, nil
}

// manyRevisions is how many old revisions of etcd are worth a warning: each
// keeps its values on disk.
const manyRevisions = 200_000

// Uncompacted tells whether etcd keeps more old revisions than it should. An
// external cluster is compacted by those who run it, not by this server.
func (s *Store) Uncompacted(ctx context.Context) (bool, error) {
	now, err := s.get(ctx, keyIdentity)
	if err != nil {
		return false, wrapEtcd("ask etcd for its revision", err)
	}
	old := now.Header.Revision - manyRevisions
	if old <= 0 {
		return false, nil
	}
	_, err = s.get(ctx, keyIdentity, clientv3.WithRev(old))
	if errors.Is(err, rpctypes.ErrCompacted) {
		return false, nil
	}
	return err == nil, wrapEtcd("ask etcd for an old revision", err)
}

func (s *Store) status(ctx context.Context) (*clientv3.StatusResponse, error) {
	client := s.client.Load()
	if client == nil {
		return nil, ErrUnavailable
	}
	endpoints := client.Endpoints()
	if len(endpoints) == 0 {
		endpoints = []string{""} // in this process
	}
	var err error
	for _, endpoint := range endpoints {
		var st *clientv3.StatusResponse
		one, cancel := context.WithTimeout(ctx, requestTimeout/time.Duration(len(endpoints)))
		st, err = client.Status(one, endpoint)
		cancel()
		if err == nil {
			return st, nil
		}
	}
	return nil, err
}

func (s *Store) setTrouble(err error) {
	if err == nil {
		s.trouble.Store(nil)
		return
	}
	s.trouble.Store(&err)
}

func (s *Store) confirmed() {
	now := s.now()
	s.confirmedAt.Store(&now)
}

// instant is the time of a stored timestamp; unset: the zero time.
func instant(ts *timestamppb.Timestamp) time.Time {
	if ts == nil {
		return time.Time{}
	}
	return ts.AsTime()
}
