package fakeserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

const (
	heartbeatEvery = 5 * time.Second
	// chunkFlags is how many flags a chunk of a snapshot has.
	chunkFlags = 2
	// backlog is how many messages may wait for a stream.
	backlog = 4096
)

// Server behaves as servers do, over a state that the test sets.
type Server struct {
	network *Network
	host    string

	mu       sync.Mutex
	http     *http.Server // nil while stopped
	position *plimsollv1.Position
	state    state
	history  []*plimsollv1.WatchResponse // deltas since the store was made
	streams  map[*watch]struct{}
	asked    []*plimsollv1.WatchRequest
	refuse   *connect.Error
	silent   bool
	// readyCode and readyBody are the answer of /readyz, unless they are zero.
	readyCode  int
	readyBody  string
	readyAsked int
	age        time.Duration
	reports    []*plimsollv1.ReportRequest

	refuseReport *connect.Error
	answerLost   bool
	refuseCounts bool
	reportDelay  time.Duration
}

// state is what a snapshot holds, by key.
type state struct {
	flags      map[string]*plimsollv1.FlagDefinition
	evaluators map[string]*plimsollv1.RuleDefinition
	segments   map[string]*plimsollv1.RuleDefinition
	overrides  map[string]*plimsollv1.OverrideState
	level      *plimsollv1.LevelState
	settings   *plimsollv1.SetSettings
}

type watch struct {
	messages chan *plimsollv1.WatchResponse
	end      chan *connect.Error // nil error: a clean end
}

// New starts a server with an empty store on the network; it is stopped at the
// end of the test.
func New(t testing.TB, n *Network, host, store string) *Server {
	s := &Server{network: n, host: host}
	s.Wipe(store)
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// NewHandler is a server without a network of its own, to be served by the
// caller.
func NewHandler(store string) *Server {
	s := &Server{}
	s.Wipe(store)
	return s
}

// Handler serves SyncService, and /readyz.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.readyAsked++
		w.WriteHeader(cmp.Or(s.readyCode, http.StatusOK))
		_, _ = io.WriteString(w, cmp.Or(s.readyBody, "ok\n"))
	})
	mux.Handle(plimsollv1connect.NewSyncServiceHandler(s, connect.WithCompressMinBytes(1024)))
	return mux
}

// URL is where the server is on its network.
func (s *Server) URL() string { return "http://" + s.host }

// Start accepts connections, if the server does not do so already.
func (s *Server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		return
	}
	server := &http.Server{Handler: s.Handler()}
	l := s.network.listen(s.host)
	s.http = server
	go func() { _ = server.Serve(l) }()
}

// Stop is the server's sudden death: connections break, new ones are refused.
func (s *Server) Stop() {
	s.mu.Lock()
	server := s.http
	s.http = nil
	s.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
}

// Wipe replaces the state by an empty one of another store, at epoch 1 and
// revision 1. It ends no stream.
func (s *Server) Wipe(store string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.position = &plimsollv1.Position{StoreId: store, Epoch: 1, Revision: 1}
	s.history = nil
	s.state = state{
		flags:      map[string]*plimsollv1.FlagDefinition{},
		evaluators: map[string]*plimsollv1.RuleDefinition{},
		segments:   map[string]*plimsollv1.RuleDefinition{},
		overrides:  map[string]*plimsollv1.OverrideState{},
		level:      &plimsollv1.LevelState{Seed: "5eed5eed5eed5eed"},
		settings:   &plimsollv1.SetSettings{},
	}
	s.streams = map[*watch]struct{}{}
}

// Put stores flags by key.
func (s *Server) Put(flags map[string]string) {
	c := &plimsollv1.StateChange{}
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		c.Flags = append(c.Flags, &plimsollv1.FlagDefinition{Key: key, Definition: flags[key]})
	}
	s.Change(c)
}

// Change makes one change and sends it to every stream.
func (s *Server) Change(c *plimsollv1.StateChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.fold(c)
	s.send(&plimsollv1.WatchResponse{Event: &plimsollv1.WatchResponse_Delta{Delta: c}})
}

// SetLevel changes the level alone.
func (s *Server) SetLevel(l *plimsollv1.LevelState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.level = l
	s.send(&plimsollv1.WatchResponse{Event: &plimsollv1.WatchResponse_Level{Level: l}})
}

// send is a message of the next revision.
func (s *Server) send(m *plimsollv1.WatchResponse) {
	s.position = &plimsollv1.Position{
		StoreId: s.position.StoreId, Epoch: s.position.Epoch, Revision: s.position.Revision + 1,
	}
	m.Position = s.position
	s.history = append(s.history, m)
	s.broadcast(m)
}

func (s *Server) broadcast(m *plimsollv1.WatchResponse) {
	if s.silent {
		return
	}
	for w := range s.streams {
		select {
		case w.messages <- m:
		default:
			panic("fakeserver: a stream reads nothing")
		}
	}
}

// Send sends a message as it is to every stream, whatever the state.
func (s *Server) Send(m *plimsollv1.WatchResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broadcast(m)
}

// MoveTo moves the state to a position without telling any stream: what was
// before is history that is lost.
func (s *Server) MoveTo(epoch uint64, revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.position = &plimsollv1.Position{StoreId: s.position.StoreId, Epoch: epoch, Revision: revision}
	s.history = nil
}

// Position is where the state is.
func (s *Server) Position() *plimsollv1.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position
}

// Refuse ends every Watch from now on with an error; nil: not any more.
func (s *Server) Refuse(err *connect.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = err
}

// End ends the streams that are open, with an error or, if nil, cleanly.
func (s *Server) End(err *connect.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.streams {
		w.end <- err
	}
	clear(s.streams)
}

// Silence lets nothing be sent, heartbeats included, or lets it be sent again.
func (s *Server) Silence(silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = silent
}

// SetConfirmedAge is what heartbeats say from now on.
func (s *Server) SetConfirmedAge(age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age = age
}

// SetReady is what /readyz answers from now on: 200 and ok unless set.
func (s *Server) SetReady(code int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readyCode, s.readyBody = code, body
}

// ReadyAsked is how often /readyz was asked for.
func (s *Server) ReadyAsked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.readyAsked
}

// Asked are the requests so far.
func (s *Server) Asked() []*plimsollv1.WatchRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Streams is how many streams are open.
func (s *Server) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// Watch is SyncService.Watch.
func (s *Server) Watch(ctx context.Context, r *connect.Request[plimsollv1.WatchRequest], out *connect.ServerStream[plimsollv1.WatchResponse]) error {
	s.mu.Lock()
	s.asked = append(s.asked, r.Msg)
	refuse := s.refuse
	behind := s.isBehind(r.Msg.GetSince())
	s.mu.Unlock()
	if refuse != nil {
		return refuse
	}
	if behind {
		return s.catchUp(ctx)
	}
	w := &watch{messages: make(chan *plimsollv1.WatchResponse, backlog), end: make(chan *connect.Error, 1)}
	s.mu.Lock()
	for _, m := range s.first(r.Msg.GetSince()) {
		if !s.silent {
			w.messages <- m
		}
	}
	s.streams[w] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.streams, w)
	}()
	return s.pump(ctx, w, out)
}

func (s *Server) pump(ctx context.Context, w *watch, out *connect.ServerStream[plimsollv1.WatchResponse]) error {
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	for {
		select {
		case m := <-w.messages:
			if err := out.Send(m); err != nil {
				return err
			}
		case <-beat.C:
			if m := s.heartbeat(); m != nil {
				if err := out.Send(m); err != nil {
					return err
				}
			}
		case end := <-w.end:
			for len(w.messages) > 0 {
				if err := out.Send(<-w.messages); err != nil {
					return err
				}
			}
			if end == nil {
				return nil
			}
			return end
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) heartbeat() *plimsollv1.WatchResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent {
		return nil
	}
	return &plimsollv1.WatchResponse{
		Position: s.position,
		Event: &plimsollv1.WatchResponse_Heartbeat{
			Heartbeat: &plimsollv1.Heartbeat{ConfirmedAge: durationpb.New(s.age)},
		},
	}
}

func (s *Server) isBehind(since *plimsollv1.Position) bool {
	p := s.position
	return since != nil && since.StoreId == p.StoreId &&
		(since.Epoch > p.Epoch || since.Epoch == p.Epoch && since.Revision > p.Revision)
}

// catchUp waits for a second, in vain, and then says how far the server is.
func (s *Server) catchUp(ctx context.Context) error {
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	err := connect.NewError(connect.CodeUnavailable, errors.New("this server is behind the client"))
	p := s.Position()
	err.Meta().Set("plimsoll-behind", fmt.Sprintf("%d/%d", p.Epoch, p.Revision))
	return err
}

// first is what a stream begins with.
func (s *Server) first(since *plimsollv1.Position) []*plimsollv1.WatchResponse {
	if since.GetStoreId() == s.position.StoreId && since.Epoch == s.position.Epoch {
		if since.Revision == s.position.Revision {
			return []*plimsollv1.WatchResponse{{
				Position: s.position,
				Event:    &plimsollv1.WatchResponse_Delta{Delta: &plimsollv1.StateChange{}},
			}}
		}
		i := slices.IndexFunc(s.history, func(m *plimsollv1.WatchResponse) bool {
			return m.Position.Revision == since.Revision+1
		})
		if i >= 0 {
			return s.history[i:]
		}
	}
	return s.snapshot()
}

func (s *Server) snapshot() []*plimsollv1.WatchResponse {
	c := &plimsollv1.StateChange{
		Evaluators: slices.Collect(maps.Values(s.state.evaluators)),
		Segments:   slices.Collect(maps.Values(s.state.segments)),
		Overrides:  slices.Collect(maps.Values(s.state.overrides)),
		Level:      s.state.level,
		Settings:   s.state.settings,
	}
	var chunks []*plimsollv1.SnapshotChunk
	add := func() {
		chunks = append(chunks, &plimsollv1.SnapshotChunk{Index: uint32(len(chunks)), Objects: c})
		c = &plimsollv1.StateChange{}
	}
	for _, key := range slices.Sorted(maps.Keys(s.state.flags)) {
		if c.Flags = append(c.Flags, s.state.flags[key]); len(c.Flags) == chunkFlags {
			add()
		}
	}
	add()
	chunks[len(chunks)-1].Last = true
	var messages []*plimsollv1.WatchResponse
	for _, chunk := range chunks {
		messages = append(messages, &plimsollv1.WatchResponse{
			Position: s.position,
			Event:    &plimsollv1.WatchResponse_Snapshot{Snapshot: chunk},
		})
	}
	return messages
}

// fold takes a change into the state.
func (s *state) fold(c *plimsollv1.StateChange) {
	for _, f := range c.Flags {
		s.flags[f.Key] = f
	}
	for _, key := range c.RemovedFlags {
		delete(s.flags, key)
	}
	for _, r := range c.Evaluators {
		s.evaluators[r.Name] = r
	}
	for _, name := range c.RemovedEvaluators {
		delete(s.evaluators, name)
	}
	for _, r := range c.Segments {
		s.segments[r.Name] = r
	}
	for _, name := range c.RemovedSegments {
		delete(s.segments, name)
	}
	for _, o := range c.Overrides {
		s.overrides[o.FlagKey] = o
	}
	for _, key := range c.RemovedOverrides {
		delete(s.overrides, key)
	}
	if c.Level != nil {
		s.level = c.Level
	}
	if c.Settings != nil {
		s.settings = c.Settings
	}
}

// Report is SyncService.Report: it keeps what is reported.
func (s *Server) Report(ctx context.Context, r *connect.Request[plimsollv1.ReportRequest]) (*connect.Response[plimsollv1.ReportResponse], error) {
	s.mu.Lock()
	delay := s.reportDelay
	s.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuseCounts && len(r.Msg.Evaluations)+len(r.Msg.Tracked) > 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("counts are refused"))
	}
	if s.answerLost || s.refuseReport == nil {
		s.reports = append(s.reports, r.Msg)
	}
	if s.refuseReport != nil {
		return nil, s.refuseReport
	}
	return connect.NewResponse(&plimsollv1.ReportResponse{}), nil
}

// RefuseReports ends every Report from now on with an error, before or after it
// was taken; nil: not any more.
func (s *Server) RefuseReports(err *connect.Error, taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuseReport, s.answerLost = err, taken
}

// DelayReports has every Report take its time.
func (s *Server) DelayReports(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reportDelay = d
}

// RefuseCounts has reports with counts be invalid.
func (s *Server) RefuseCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuseCounts = true
}

// Reports are the reports that were taken, in order.
func (s *Server) Reports() []*plimsollv1.ReportRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reports)
}
