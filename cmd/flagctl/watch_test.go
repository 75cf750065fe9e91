package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

// tailing serves an audit log stream by stream: each call of TailRecords runs
// the next of the steps, which gets the sequence to begin after.
type tailing struct {
	plimsollv1connect.UnimplementedAuditServiceHandler
	plimsollv1connect.UnimplementedAdminServiceHandler
	newest uint64
	// store is the position that the server tells before each stream.
	store func(stream int) (*plimsollv1.Position, error)
	steps []func(ctx context.Context, after uint64, send func(seq uint64)) error

	mu     sync.Mutex
	stream int
	asked  int
}

func sameStore(int) (*plimsollv1.Position, error) {
	return &plimsollv1.Position{StoreId: "a", Epoch: 1, Revision: 7}, nil
}

// url serves it until the test ends.
func (s *tailing) url(t *testing.T) string {
	mux := http.NewServeMux()
	mux.Handle(plimsollv1connect.NewAuditServiceHandler(s))
	mux.Handle(plimsollv1connect.NewAdminServiceHandler(s))
	return serve(t, mux)
}

func (s *tailing) GetStatus(context.Context, *connect.Request[plimsollv1.GetStatusRequest]) (*connect.Response[plimsollv1.GetStatusResponse], error) {
	s.mu.Lock()
	n := s.asked
	s.asked++
	s.mu.Unlock()
	at, err := s.store(n)
	return connect.NewResponse(&plimsollv1.GetStatusResponse{Position: at}), err
}

func (s *tailing) ListRecords(context.Context, *connect.Request[plimsollv1.ListRecordsRequest]) (*connect.Response[plimsollv1.ListRecordsResponse], error) {
	return connect.NewResponse(&plimsollv1.ListRecordsResponse{Records: []*plimsollv1.AuditRecord{{Seq: s.newest}}}), nil
}

func (s *tailing) TailRecords(ctx context.Context, req *connect.Request[plimsollv1.TailRecordsRequest], stream *connect.ServerStream[plimsollv1.TailRecordsResponse]) error {
	s.mu.Lock()
	step := s.steps[min(s.stream, len(s.steps)-1)]
	s.stream++
	s.mu.Unlock()
	if err := stream.Send(&plimsollv1.TailRecordsResponse{}); err != nil {
		return err
	}
	return step(ctx, req.Msg.GetAfterSeq(), func(seq uint64) {
		_ = stream.Send(&plimsollv1.TailRecordsResponse{Record: &plimsollv1.AuditRecord{
			Seq: seq, Verb: fmt.Sprintf("verb-%d", seq), Actor: &plimsollv1.Actor{Name: "bob"}, Reason: "why\nnot",
			Objects: []*plimsollv1.AuditObject{{Object: "flags/x"}},
		}})
	})
}

// seenVerbs are the records on the output, in order.
func seenVerbs(stdout string) string {
	var verbs []string
	for line := range strings.Lines(stdout) {
		for word := range strings.FieldsSeq(line) {
			if seq, ok := strings.CutPrefix(word, "verb-"); ok {
				verbs = append(verbs, seq)
			}
		}
	}
	return strings.Join(verbs, " ")
}

// TestWatchMissesNothing: a stream that breaks is taken up after the last
// record, whatever happened in between.
func TestWatchMissesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("watch", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var after []uint64
		broken := connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the reader is too slow"))
		server := &tailing{
			newest: 10, store: sameStore,
			steps: []func(context.Context, uint64, func(uint64)) error{
				func(_ context.Context, seq uint64, send func(uint64)) error {
					after = append(after, seq)
					send(11)
					send(12)
					return broken
				},
				func(_ context.Context, seq uint64, _ func(uint64)) error {
					after = append(after, seq)
					return nil // ends without an error, and without a record
				},
				func(ctx context.Context, seq uint64, send func(uint64)) error {
					after = append(after, seq)
					send(13)
					cancel()
					<-ctx.Done()
					return nil
				},
			},
		}
		r := runFlagctl(ctx, t, server.url(t), "watch")
		r.want(t, exitDone, "watching namespace default", "lost the server (the reader is too slow); reconnecting")
		// The last record and Ctrl-C race; what matters is that none is left out.
		if got := seenVerbs(r.stdout); got != "11 12 13" && got != "11 12" {
			t.Errorf("saw %q, want 11 12 13", got)
		}
		if fmt.Sprint(after) != "[10 12 12]" {
			t.Errorf("streams began after %v, want [10 12 12]", after)
		}
		if !strings.Contains(r.stdout, `why\nnot`) {
			t.Errorf("a reason broke the line: %q", r.stdout)
		}
	})
}

// TestWatchAnotherStore: the log of another store is shown from its beginning,
// that of a restored one from its end.
func TestWatchAnotherStore(t *testing.T) {
	tests := []struct {
		name  string
		then  *plimsollv1.Position
		after uint64
		want  string
	}{
		{"wiped", &plimsollv1.Position{StoreId: "b", Epoch: 1}, 0, "the server has another store now; its whole log follows"},
		{"restored", &plimsollv1.Position{StoreId: "a", Epoch: 2}, 500, "restored from a backup"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			server := &tailing{newest: 500}
			server.store = func(n int) (*plimsollv1.Position, error) {
				if n > 0 {
					return tt.then, nil
				}
				return sameStore(n)
			}
			server.steps = []func(context.Context, uint64, func(uint64)) error{
				func(context.Context, uint64, func(uint64)) error { return nil },
				func(ctx context.Context, after uint64, _ func(uint64)) error {
					if after != tt.after {
						t.Errorf("the log is read after %d, want %d", after, tt.after)
					}
					cancel()
					<-ctx.Done()
					return nil
				},
			}
			runFlagctl(ctx, t, server.url(t), "watch").want(t, exitDone, tt.want)
		})
	}
}

// TestWatchGivesUp: what no retry will mend ends it.
func TestWatchGivesUp(t *testing.T) {
	server := &tailing{steps: []func(context.Context, uint64, func(uint64)) error{func(context.Context, uint64, func(uint64)) error { return nil }}}
	server.store = func(n int) (*plimsollv1.Position, error) {
		if n == 0 {
			return sameStore(n)
		}
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no namespace %q", "shop"))
	}
	runFlagctl(t.Context(), t, server.url(t), "watch", "-n", "shop").want(t, exitFailed, `flagctl: watch: there is no namespace "shop"`)
}

// TestWatchSilence: a stream on which nothing is heard for too long is dead.
func TestWatchSilence(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := &tailing{store: sameStore, steps: []func(context.Context, uint64, func(uint64)) error{
		func(ctx context.Context, _ uint64, _ func(uint64)) error {
			<-ctx.Done() // says nothing until the client hangs up
			return nil
		},
		func(ctx context.Context, _ uint64, _ func(uint64)) error {
			cancel()
			<-ctx.Done()
			return nil
		},
	}}
	t.Setenv("PLIMSOLL_SERVER", server.url(t))
	var stdout, stderr lockedBuffer
	c := newCLI(strings.NewReader(""), &stdout, &stderr, nil)
	c.silence = 50 * time.Millisecond
	code := c.run(ctx, []string{"watch"})
	result{code, stdout.String(), stderr.String()}.want(t, exitDone, "lost the server", "nothing was heard for 50ms")
}
