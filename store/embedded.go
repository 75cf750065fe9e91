package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// EmbeddedOptions configure an etcd member inside this process. Dir is
// required.
type EmbeddedOptions struct {
	// Dir is where the member keeps its data.
	Dir string
	// ClientURL and PeerURL make the member listen for etcd clients and for
	// other members; empty: it does not, and is reached only from this process.
	ClientURL, PeerURL string
	// Logger gets the member's warnings and errors; default: slog.Default.
	Logger *slog.Logger
	// QuotaBytes bounds the backend; default 4 GiB.
	QuotaBytes int64
	// MinFreeBytes is how much room the disk must have for writes; default
	// 256 MiB. The member would end the process if its disk were full.
	MinFreeBytes uint64
}

const (
	defaultQuota   = 4 << 30
	defaultMinFree = 256 << 20
	// keptRevisions is how far back the embedded member's history reaches.
	keptRevisions = "10000"
	startTimeout  = 60 * time.Second

	maintainEvery = time.Minute
	// A backend is defragmented when it is this large and half empty.
	defragFrom = 64 << 20
)

// Embedded is an etcd member inside this process.
type Embedded struct {
	dir     string
	log     *slog.Logger
	minFree uint64
	free    func(dir string) (uint64, error)

	// closing mutes etcd, which calls its own orderly end an error.
	closing atomic.Bool

	etcd   *embed.Etcd
	client *clientv3.Client
	unlock func()
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// StartEmbedded starts a member and waits until it serves. Close stops it.
func StartEmbedded(ctx context.Context, opts EmbeddedOptions) (*Embedded, error) {
	e := &Embedded{dir: opts.Dir, log: opts.Logger, minFree: opts.MinFreeBytes, free: freeSpace}
	if e.log == nil {
		e.log = slog.Default()
	}
	if e.minFree == 0 {
		e.minFree = defaultMinFree
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	cfg, err := e.config(opts)
	if err != nil {
		return nil, err
	}
	// bolt would wait for its own lock for ever, without a word.
	if e.unlock, err = lockDir(opts.Dir); err != nil {
		return nil, fmt.Errorf("lock %s: %w: is another server using the same data directory?", opts.Dir, err)
	}
	if err := e.start(ctx, cfg); err != nil {
		e.unlock()
		return nil, err
	}
	maintain, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	e.done.Go(func() { e.maintain(maintain) })
	return e, nil
}

func (e *Embedded) start(ctx context.Context, cfg *embed.Config) error {
	free, err := e.free(e.dir)
	if err != nil {
		return fmt.Errorf("read the free space of %s: %w", e.dir, err)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, "member")); errors.Is(err, os.ErrNotExist) && free < e.minFree {
		return fmt.Errorf("%w: the disk of %s has %d MiB free and a new store needs %d MiB; make room or choose another --data-dir", ErrFull, e.dir, free>>20, e.minFree>>20)
	}
	member, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("start the embedded etcd member in %s: %w", cfg.Dir, err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case <-member.Server.ReadyNotify():
	case err := <-member.Err():
		member.Close()
		return fmt.Errorf("start the embedded etcd member in %s: %w", cfg.Dir, err)
	case <-ctx.Done():
		member.Close()
		return fmt.Errorf("start the embedded etcd member in %s: %w", cfg.Dir, ctx.Err())
	}
	e.etcd, e.client = member, v3client.New(member.Server)
	return nil
}

func (e *Embedded) config(opts EmbeddedOptions) (*embed.Config, error) {
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(opts.Dir, "etcd")
	cfg.Name = "plimsoll"
	cfg.ListenClientUrls, cfg.ListenPeerUrls = nil, nil
	cfg.AdvertiseClientUrls = nil
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	// Its JSON gateway would let any web page write, past records and checks.
	cfg.EnableGRPCGateway = false
	cfg.HostWhitelist = map[string]struct{}{"localhost": {}, "127.0.0.1": {}}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapToSlog(e.log, &e.closing))
	cfg.QuotaBackendBytes = opts.QuotaBytes
	if cfg.QuotaBackendBytes == 0 {
		cfg.QuotaBackendBytes = defaultQuota
	}
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = embed.CompactorModeRevision, keptRevisions
	cfg.BootstrapDefragThresholdMegabytes = defragFrom >> 20
	cfg.WarningApplyDuration = time.Second
	cfg.WarningUnaryRequestDuration = 2 * time.Second
	if opts.PeerURL == "" {
		// Nobody to hear from: a lone member may elect itself at once.
		cfg.TickMs, cfg.ElectionMs = 20, 200
		// Nor anybody to catch up: the log need not be kept in memory.
		cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = 500, 10
	}
	for _, l := range []struct {
		text              string
		listen, advertise *[]url.URL
	}{
		{opts.ClientURL, &cfg.ListenClientUrls, &cfg.AdvertiseClientUrls},
		{opts.PeerURL, &cfg.ListenPeerUrls, &cfg.AdvertisePeerUrls},
	} {
		if l.text == "" {
			continue
		}
		u, err := url.Parse(l.text)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("etcd listener %q is not a URL such as http://127.0.0.1:2379", l.text)
		}
		*l.listen, *l.advertise = []url.URL{*u}, []url.URL{*u}
	}
	if opts.PeerURL != "" {
		cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	}
	return cfg, nil
}

// Client is a client that reaches the member without a network. It lives as
// long as the member.
func (e *Embedded) Client() *clientv3.Client { return e.client }

// Failed gets the error that ends the member by itself.
func (e *Embedded) Failed() <-chan error { return e.etcd.Err() }

// Room says why nothing should be written now: the disk is nearly full.
func (e *Embedded) Room() error {
	free, err := e.free(e.dir)
	if err != nil {
		return fmt.Errorf("read the free space of %s: %w", e.dir, err)
	}
	if free < e.minFree {
		return fmt.Errorf("%w: the disk of %s has %d MiB free, and writes are refused below %d MiB; reads go on; make room on that disk", ErrFull, e.dir, free>>20, e.minFree>>20)
	}
	return nil
}

// Close stops the member. Stores that use its client must be closed before.
func (e *Embedded) Close() error {
	e.closing.Store(true)
	e.stop()
	e.done.Wait()
	err := e.client.Close()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	e.etcd.Close()
	e.unlock()
	return err
}

// maintain keeps the backend small: etcd compacts by itself, and what that
// leaves empty is given back to the disk when nobody is writing. A backend
// that has hit its quota is compacted and freed, and then takes writes again.
func (e *Embedded) maintain(ctx context.Context) {
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	last := int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		rev, err := e.maintainOnce(ctx, last)
		if err != nil && ctx.Err() == nil {
			e.log.Warn("maintenance of the embedded store failed", "error", err)
		}
		last = rev
	}
}

// maintainOnce looks at the backend once. quietRev is the revision a while
// ago: if it has not moved, nobody is writing.
func (e *Embedded) maintainOnce(ctx context.Context, quietRev int64) (rev int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, maintainEvery)
	defer cancel()
	st, err := e.client.Status(ctx, "")
	if err != nil {
		return quietRev, fmt.Errorf("ask for the status: %w", err)
	}
	rev = st.Header.Revision
	alarms, err := e.client.AlarmList(ctx)
	if err != nil {
		return rev, fmt.Errorf("ask for alarms: %w", err)
	}
	full := len(alarms.Alarms) > 0
	if full {
		if _, err := e.client.Compact(ctx, rev, clientv3.WithCompactPhysical()); err != nil && st.DbSizeInUse > st.DbSize/2 {
			return rev, fmt.Errorf("compact: %w", err)
		}
	}
	wasteful := st.DbSize > defragFrom && st.DbSizeInUse < st.DbSize/2
	if full || (wasteful && rev == quietRev) {
		// Not through the client: in process, its Defragment needs a notifier
		// that only a listening member has.
		if err := e.etcd.Server.Backend().Defrag(); err != nil {
			return rev, fmt.Errorf("defragment: %w", err)
		}
	}
	if full {
		for _, a := range alarms.Alarms {
			if _, err := e.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
				return rev, fmt.Errorf("clear the alarm: %w", err)
			}
		}
		e.log.Warn("the store's backend had reached its quota; it was compacted and defragmented", "bytes_before", st.DbSize)
	}
	return rev, nil
}
