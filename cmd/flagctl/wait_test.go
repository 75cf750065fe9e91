package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/plimsoll-dev/plimsoll/cmd/flagctl/internal/remote"
	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1/plimsollv1connect"
)

// The clock of these tests is synctest's: what takes 30 s takes no time, and
// happens at exactly the times that are given.

// fleet answers GetRollout by what rollout says of the time since it was made.
type fleet struct {
	plimsollv1connect.FleetServiceClient
	rollout func(ctx context.Context, after time.Duration, revision int64) (*plimsollv1.GetRolloutResponse, error)

	began time.Time
	asked []time.Duration
}

func (f *fleet) GetRollout(ctx context.Context, req *connect.Request[plimsollv1.GetRolloutRequest]) (*connect.Response[plimsollv1.GetRolloutResponse], error) {
	after := time.Since(f.began)
	f.asked = append(f.asked, after)
	res, err := f.rollout(ctx, after, req.Msg.GetRevision())
	if err != nil {
		return nil, err
	}
	if res.Position == nil {
		res.Position = at(4711)
	}
	res.Laggards = res.Laggards[:min(len(res.Laggards), int(req.Msg.GetMaxLaggards()))]
	return connect.NewResponse(res), nil
}

func at(revision int64) *plimsollv1.Position {
	return &plimsollv1.Position{StoreId: "a", Epoch: 1, Revision: revision}
}

// made answers every change with revision 4711.
type made struct {
	plimsollv1connect.FlagServiceClient
	plimsollv1connect.AuditServiceClient
	unchanged bool
	failAt    string // the key that cannot be deleted
}

const switchJSON = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}`

func (m *made) result(change *plimsollv1.ChangeInfo) *plimsollv1.ChangeResult {
	return &plimsollv1.ChangeResult{ChangeId: change.GetChangeId(), Position: at(4711), Changed: !m.unchanged}
}

func (m *made) GetFlag(_ context.Context, req *connect.Request[plimsollv1.GetFlagRequest]) (*connect.Response[plimsollv1.GetFlagResponse], error) {
	return connect.NewResponse(&plimsollv1.GetFlagResponse{Flag: &plimsollv1.Flag{Key: req.Msg.GetKey(), Revision: 7, Definition: switchJSON}}), nil
}

func (m *made) CreateFlag(_ context.Context, req *connect.Request[plimsollv1.CreateFlagRequest]) (*connect.Response[plimsollv1.CreateFlagResponse], error) {
	return connect.NewResponse(&plimsollv1.CreateFlagResponse{
		Flag: &plimsollv1.Flag{Key: req.Msg.GetKey(), Revision: 4711, Definition: req.Msg.GetDefinition()}, Change: m.result(req.Msg.GetChange()),
	}), nil
}

func (m *made) UpdateFlag(_ context.Context, req *connect.Request[plimsollv1.UpdateFlagRequest]) (*connect.Response[plimsollv1.UpdateFlagResponse], error) {
	return connect.NewResponse(&plimsollv1.UpdateFlagResponse{
		Flag: &plimsollv1.Flag{Key: req.Msg.GetKey(), Revision: 4711, Definition: switchJSON}, Change: m.result(req.Msg.GetChange()),
	}), nil
}

func (m *made) DeleteFlag(_ context.Context, req *connect.Request[plimsollv1.DeleteFlagRequest]) (*connect.Response[plimsollv1.DeleteFlagResponse], error) {
	if req.Msg.GetKey() == m.failAt {
		return nil, connect.NewWireError(connect.CodeFailedPrecondition, errors.New("it is needed"))
	}
	return connect.NewResponse(&plimsollv1.DeleteFlagResponse{Change: m.result(req.Msg.GetChange())}), nil
}

func (m *made) DeleteRule(_ context.Context, req *connect.Request[plimsollv1.DeleteRuleRequest]) (*connect.Response[plimsollv1.DeleteRuleResponse], error) {
	return connect.NewResponse(&plimsollv1.DeleteRuleResponse{Change: m.result(req.Msg.GetChange())}), nil
}

func (m *made) ListRecords(context.Context, *connect.Request[plimsollv1.ListRecordsRequest]) (*connect.Response[plimsollv1.ListRecordsResponse], error) {
	return connect.NewResponse(&plimsollv1.ListRecordsResponse{}), nil
}

func (m *made) Apply(_ context.Context, req *connect.Request[plimsollv1.ApplyRequest]) (*connect.Response[plimsollv1.ApplyResponse], error) {
	return connect.NewResponse(&plimsollv1.ApplyResponse{
		Change:  m.result(req.Msg.GetChange()),
		Objects: []*plimsollv1.AppliedObject{{Object: "flags/x", Outcome: plimsollv1.AppliedObject_OUTCOME_CREATED}},
	}), nil
}

// waited is what came of one command that waits.
type waited struct {
	result
	took  time.Duration
	asked []time.Duration
}

// runWaiting runs flagctl by synctest's clock. interrupt is when Ctrl-C is
// pressed; 0: never.
func runWaiting(t *testing.T, m *made, f *fleet, interrupt time.Duration, args ...string) (out waited) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if interrupt > 0 {
			defer time.AfterFunc(interrupt, cancel).Stop()
		}
		var stdout, stderr lockedBuffer
		c := newCLI(strings.NewReader(""), &stdout, &stderr, nil)
		c.client = remote.New(remote.Target{Server: "http://a:8013"})
		c.client.Flags, c.client.Audit, c.client.Fleet = m, m, f
		f.began = time.Now()
		code := c.run(ctx, args)
		out = waited{result{code, stdout.String(), stderr.String()}, time.Since(f.began), f.asked}
	})
	return out
}

func millis(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Millisecond) }

// behind are processes that have not applied the change.
func behind(n int) []*plimsollv1.FleetClient {
	var out []*plimsollv1.FleetClient
	for i := range n {
		out = append(out, &plimsollv1.FleetClient{
			Client:   &plimsollv1.ClientInfo{Service: "shop", InstanceId: fmt.Sprintf("%08d-rest-of-it", i), Zone: "eu-1"},
			ServerId: "0123456789abcdef", Applied: at(4710), Source: plimsollv1.FlagSource_FLAG_SOURCE_STREAM, Lagging: true, LaggingFor: millis(12_000 - i),
		})
	}
	return out
}

// lostServer is how a call fails whose connection is refused.
func lostServer() error {
	return connect.NewError(connect.CodeUnavailable, errors.New("connection refused"))
}

const setOn = "x: off → on (revision 4711)\nundo: flagctl set x off\n"

func TestWait(t *testing.T) {
	everywhere := &plimsollv1.GetRolloutResponse{Live: 3, Applied: 3}
	peer := []*plimsollv1.FleetServer{
		{Id: "self", Address: "http://a:8013"},
		{Id: "fedcba9876543210", Address: "http://b:8013", Zone: "eu-2", Unreachable: "connection refused", Clients: 14},
	}
	tests := []struct {
		name      string
		rollout   func(ctx context.Context, after time.Duration, revision int64) (*plimsollv1.GetRolloutResponse, error)
		args      []string // after set x on
		interrupt time.Duration

		code           int
		stdout, stderr string
		took           time.Duration
	}{
		{
			name: "complete",
			rollout: func(_ context.Context, after time.Duration, _ int64) (*plimsollv1.GetRolloutResponse, error) {
				if after < 300*time.Millisecond {
					return &plimsollv1.GetRolloutResponse{Live: 1003, Applied: 996, Laggards: behind(7)}, nil
				}
				return &plimsollv1.GetRolloutResponse{Live: 1003, Applied: 1003, Sent: 12, P50: millis(41), P99: millis(210), Slowest: millis(250)}, nil
			},
			stdout: setOn + "applied by 1 003 of 1 003 processes; half within 41 ms, 99 % within 210 ms, the slowest 250 ms\n" +
				"12 streams that do not report were sent it\n",
			took: 100*time.Millisecond + 125*time.Millisecond + 156250*time.Microsecond,
		},
		{
			name: "nobody there",
			rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
				return &plimsollv1.GetRolloutResponse{Sent: 1}, nil
			},
			stdout: setOn + "no process reports to this server yet\n1 stream that does not report was sent it\n",
		},
		{
			name: "streams that do not report get a moment",
			rollout: func(_ context.Context, after time.Duration, _ int64) (*plimsollv1.GetRolloutResponse, error) {
				r := &plimsollv1.GetRolloutResponse{Live: 1, Applied: 1, Sent: 1, Servers: []*plimsollv1.FleetServer{{SilentStreams: 1}, {SilentStreams: 1}}}
				if after > 0 {
					r.Sent = 2
				}
				return r, nil
			},
			stdout: setOn + "applied by 1 of 1 process\n2 streams that do not report were sent it\n",
			took:   100 * time.Millisecond,
		},
		{
			name: "and no more than that",
			rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
				return &plimsollv1.GetRolloutResponse{Servers: []*plimsollv1.FleetServer{{SilentStreams: 2}}}, nil
			},
			stdout: setOn + "no process reports to this server yet\n0 of 2 streams that do not report were sent it\n",
			took: 100*time.Millisecond + 125*time.Millisecond + 156250*time.Microsecond + 195312500*time.Nanosecond +
				244140625*time.Nanosecond + 305175781*time.Nanosecond,
		},
		{
			name: "one process, of whom it is not known how long it took",
			rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
				return &plimsollv1.GetRolloutResponse{Live: 1, Applied: 1}, nil
			},
			stdout: setOn + "applied by 1 of 1 process\n",
		},
		{
			name: "laggards",
			rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
				lost := behind(2)
				lost[1].Applied, lost[1].LaggingFor = nil, nil
				return &plimsollv1.GetRolloutResponse{Live: 5, Applied: 3, Laggards: lost, P50: millis(0), P99: millis(1500), Slowest: millis(150_000)}, nil
			},
			code: exitUnconfirmed,
			stdout: setOn + "applied by 3 of 5 processes; half within 1 ms, 99 % within 1.5 s, the slowest 2 min\n" +
				"SERVICE  INSTANCE  ZONE  REVISION  LAG\n" +
				"shop     00000000  eu-1  4710      behind 12 s\n" +
				"shop     00000001  eu-1  none      behind\n",
			stderr: "flagctl: set x: waited 30s: 3 of 5 processes have applied it; the change was made and stays\n" +
				"hint: `flagctl clients --lagging` shows how it goes on\n",
			took: 30 * time.Second,
		},
		{
			name: "a limit of its own",
			rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
				return &plimsollv1.GetRolloutResponse{Live: 1}, nil
			},
			args: []string{"--wait-timeout", "1m10s"},
			code: exitUnconfirmed, stdout: setOn + "applied by 0 of 1 process\n",
			stderr: "flagctl: set x: waited 1m10s: 0 of 1 process has applied it; the change was made and stays\n" +
				"hint: `flagctl clients --lagging` shows how it goes on\n",
			took: 70 * time.Second,
		},
		{
			name: "a server that cannot be reached",
			rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
				return &plimsollv1.GetRolloutResponse{Live: 3, Applied: 3, Unknown: 14, Servers: peer}, nil
			},
			code: exitUnconfirmed,
			stdout: setOn + "applied by 3 of 3 processes\n" +
				"14 processes report to a server that cannot be reached (http://b:8013): unknown\n",
			stderr: "warning: server fedcba98 at http://b:8013 in zone eu-2 cannot be reached: connection refused; 14 processes reported to it\n" +
				"flagctl: set x: waited 30s: 3 of 3 processes have applied it, of 14 it is not known; the change was made and stays\n" +
				"hint: `flagctl clients --lagging` shows how it goes on\n",
			took: 30 * time.Second,
		},
		{
			name: "a server that cannot be reached, whose processes have moved",
			rollout: func(_ context.Context, after time.Duration, _ int64) (*plimsollv1.GetRolloutResponse, error) {
				return &plimsollv1.GetRolloutResponse{Live: 14, Applied: 14, Servers: peer}, nil
			},
			stdout: setOn + "applied by 14 of 14 processes\n",
			stderr: "warning: server fedcba98 at http://b:8013 in zone eu-2 cannot be reached: connection refused; 14 processes reported to it\n",
		},
		{
			name: "a server that could never be asked",
			rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
				return &plimsollv1.GetRolloutResponse{Live: 3, Applied: 3, Servers: []*plimsollv1.FleetServer{{Id: "b", Address: "http://b:8013", Unreachable: "connection refused"}}}, nil
			},
			args: []string{"--wait-timeout", "5s"},
			code: exitUnconfirmed, stdout: setOn + "applied by 3 of 3 processes\n",
			stderr: "warning: server b at http://b:8013 cannot be reached: connection refused\n" +
				"flagctl: set x: waited 5s: 3 of 3 processes have applied it; the change was made and stays\n" +
				"hint: `flagctl clients --lagging` shows how it goes on\n",
			took: 5 * time.Second,
		},
		{
			name: "processes that were refused",
			rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
				return &plimsollv1.GetRolloutResponse{Live: 3, Applied: 3, Unknown: 2}, nil
			},
			args: []string{"--wait-timeout", "5s"},
			code: exitUnconfirmed, stdout: setOn + "applied by 3 of 3 processes\n2 processes too many for a server to take their reports: unknown\n",
			stderr: "flagctl: set x: waited 5s: 3 of 3 processes have applied it, of 2 it is not known; the change was made and stays\n" +
				"hint: `flagctl clients --lagging` shows how it goes on\n",
			took: 5 * time.Second,
		},
		{
			name: "a server that was just started, at first",
			rollout: func(_ context.Context, after time.Duration, _ int64) (*plimsollv1.GetRolloutResponse, error) {
				return &plimsollv1.GetRolloutResponse{Live: 3, Applied: 3, Servers: []*plimsollv1.FleetServer{{Id: "a", ReportingFor: durationpb.New(13*time.Second + after)}}}, nil
			},
			stdout: setOn + "applied by 3 of 3 processes\n",
			took:   -1, // between 5 s and half a second later
		},
		{
			name: "a server that was just started, until the end",
			rollout: func(_ context.Context, after time.Duration, _ int64) (*plimsollv1.GetRolloutResponse, error) {
				return &plimsollv1.GetRolloutResponse{Servers: []*plimsollv1.FleetServer{{Id: "a", ReportingFor: durationpb.New(3 * time.Second)}}}, nil
			},
			args: []string{"--wait-timeout", "5s"},
			code: exitUnconfirmed, stdout: setOn + "no process reports to this server yet\n",
			stderr: "flagctl: set x: waited 5s: 0 of 0 processes have applied it; the server was started 3.0 s ago: it does not know yet who is there; the change was made and stays\n" +
				"hint: `flagctl clients --lagging` shows how it goes on\n",
			took: 5 * time.Second,
		},
		{
			name: "a server that is away for a while",
			rollout: func(_ context.Context, after time.Duration, _ int64) (*plimsollv1.GetRolloutResponse, error) {
				switch {
				case after < time.Second:
					return &plimsollv1.GetRolloutResponse{Live: 3, Applied: 1}, nil
				case after < 5*time.Second:
					return nil, lostServer()
				}
				return everywhere, nil
			},
			stdout: setOn + "applied by 3 of 3 processes\n",
			took:   -1, // between 5 s and half a second later
		},
		{
			name: "a server that does not come back",
			rollout: func(_ context.Context, after time.Duration, _ int64) (*plimsollv1.GetRolloutResponse, error) {
				if after < time.Second {
					return &plimsollv1.GetRolloutResponse{Live: 3, Applied: 1}, nil
				}
				return nil, lostServer()
			},
			code: exitUnconfirmed, stdout: setOn,
			stderr: "flagctl: set x: lost the server while waiting (cannot reach http://a:8013: connection refused); by its last answer, 1 of 3 processes have applied it; the change was made and stays\n" +
				"hint: `flagctl clients --lagging` shows how it goes on\n",
			took: 30 * time.Second,
		},
		{
			name: "a server that never reaches the revision",
			rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
				return nil, connect.NewWireError(connect.CodeUnavailable, errors.New("revision 4711 is not here yet"))
			},
			code: exitUnconfirmed, stdout: setOn,
			stderr: "flagctl: set x: it is not known who has applied it: revision 4711 is not here yet; the change was made and stays\n" +
				"hint: `flagctl clients --lagging` shows how it goes on\n",
			took: 30 * time.Second,
		},
		{
			name: "a server that never answers",
			rollout: func(ctx context.Context, _ time.Duration, _ int64) (*plimsollv1.GetRolloutResponse, error) {
				<-ctx.Done()
				return nil, connect.NewError(connect.CodeDeadlineExceeded, ctx.Err())
			},
			args: []string{"--wait-timeout", "5s"},
			code: exitUnconfirmed, stdout: setOn,
			stderr: "flagctl: set x: it is not known who has applied it: http://a:8013 did not answer within 5s; the change was made and stays\n" +
				"hint: `flagctl clients --lagging` shows how it goes on\n",
			took: 5 * time.Second,
		},
		{
			name: "another store",
			rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
				return &plimsollv1.GetRolloutResponse{Position: &plimsollv1.Position{StoreId: "b", Epoch: 1, Revision: 9999}, Live: 3, Applied: 3}, nil
			},
			code: exitUnconfirmed, stdout: setOn,
			stderr: "flagctl: set x: it is not known who has applied it: the server has another store now; the change was made and stays\n" +
				"hint: `flagctl clients --lagging` shows how it goes on\n",
			took: 30 * time.Second,
		},
		{
			name: "an older server",
			rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
				return nil, connect.NewWireError(connect.CodeUnimplemented, errors.New("no such method"))
			},
			code: exitUnconfirmed, stdout: setOn,
			stderr: "flagctl: set x: cannot wait: this server does not know the call: no such method; the change was made and stays\n" +
				"hint: it is older than this flagctl; compare `flagctl version` and `flagctl status`\n",
		},
		{
			name: "Ctrl-C",
			rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
				return &plimsollv1.GetRolloutResponse{Live: 3, Applied: 1}, nil
			},
			interrupt: 2 * time.Second,
			code:      exitUnconfirmed, stdout: setOn + "applied by 1 of 3 processes\n",
			stderr: "flagctl: set x: interrupted while waiting; 1 of 3 processes have applied it; the change was made and stays\n" +
				"hint: `flagctl clients --lagging` shows how it goes on\n",
			took: 2 * time.Second,
		},
		{
			name: "Ctrl-C during a call",
			rollout: func(ctx context.Context, _ time.Duration, _ int64) (*plimsollv1.GetRolloutResponse, error) {
				<-ctx.Done()
				return nil, connect.NewError(connect.CodeCanceled, ctx.Err())
			},
			interrupt: 2 * time.Second,
			code:      exitUnconfirmed, stdout: setOn,
			stderr: "flagctl: set x: interrupted while waiting; it is not known who has applied it; the change was made and stays\n" +
				"hint: `flagctl clients --lagging` shows how it goes on\n",
			took: 2 * time.Second,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"set", "x", "on"}, tt.args...)
			if len(tt.args) == 0 {
				args = append(args, "--wait")
			}
			got := runWaiting(t, &made{}, &fleet{rollout: tt.rollout}, tt.interrupt, args...)
			if got.code != tt.code {
				t.Errorf("exit code %d, want %d", got.code, tt.code)
			}
			if diff := cmp.Diff(tt.stdout, got.stdout); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.stderr, got.stderr); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
			switch {
			case tt.took < 0:
				if got.took < 5*time.Second || got.took > 5*time.Second+longestPoll {
					t.Errorf("took %s", got.took)
				}
			case got.took != tt.took:
				t.Errorf("took %s, want %s", got.took, tt.took)
			}
		})
	}
}

// TestWaitPolls: often at first, so that a quick fleet is not waited for, and
// never more than twice a second later.
func TestWaitPolls(t *testing.T) {
	got := runWaiting(t, &made{}, &fleet{rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
		return &plimsollv1.GetRolloutResponse{Live: 1}, nil
	}}, 0, "set", "x", "on", "--wait")
	if len(got.asked) < 5 {
		t.Fatalf("asked at %v", got.asked)
	}
	before := time.Duration(0)
	for i := 1; i < len(got.asked); i++ {
		pause := got.asked[i] - got.asked[i-1]
		if i == 1 && pause != firstPoll || pause < before || pause > longestPoll {
			t.Errorf("asked at %v", got.asked)
			break
		}
		before = pause
	}
	if before != longestPoll {
		t.Errorf("the longest pause is %s, want %s", before, longestPoll)
	}
}

// TestWaitNamesTwenty: of many laggards the first are named, the rest counted.
func TestWaitNamesTwenty(t *testing.T) {
	got := runWaiting(t, &made{}, &fleet{rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
		return &plimsollv1.GetRolloutResponse{Live: 1100, Applied: 50, Laggards: behind(30)}, nil
	}}, 0, "set", "x", "on", "--wait")
	if n := strings.Count(got.stdout, "\nshop "); n != 20 {
		t.Errorf("%d are named, want 20", n)
	}
	if !strings.HasSuffix(got.stdout, "\n… and 1 030 more\n") {
		t.Errorf("stdout %s", got.stdout)
	}
}

// TestWaitUnchanged: where all stood so already, what is newest at first is
// waited for, and nothing that comes after it.
func TestWaitUnchanged(t *testing.T) {
	var revisions []int64
	f := &fleet{rollout: func(_ context.Context, after time.Duration, revision int64) (*plimsollv1.GetRolloutResponse, error) {
		revisions = append(revisions, revision)
		if after < 100*time.Millisecond {
			return &plimsollv1.GetRolloutResponse{Position: at(50), Live: 1}, nil
		}
		return &plimsollv1.GetRolloutResponse{Position: at(revision), Live: 1, Applied: 1}, nil
	}}
	got := runWaiting(t, &made{}, f, 0, "set", "x", "off", "--wait")
	got.want(t, exitDone)
	if want := "x: off already; nothing was changed\napplied by 1 of 1 process\n"; got.stdout != want {
		t.Errorf("stdout %q, want %q", got.stdout, want)
	}
	if !slices.Equal(revisions, []int64{0, 50}) {
		t.Errorf("asked for revisions %v, want 0 and then 50", revisions)
	}

	never := &fleet{rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
		return &plimsollv1.GetRolloutResponse{Live: 1}, nil
	}}
	got = runWaiting(t, &made{}, never, 0, "set", "x", "off", "--wait")
	got.want(t, exitUnconfirmed, "0 of 1 process has applied it; it stood so already\n")
}

// TestWaitVerbs: every verb that changes what apps get waits for its revision,
// and tells programs what came of it in the value that it prints anyway.
func TestWaitVerbs(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "f.json")
	if err := os.WriteFile(file, []byte(`{"flags":{"x":`+switchJSON+`}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"create", "x", "--bool"},
		{"set", "x", "on"},
		{"disable", "x"},
		{"delete", "x", "y"},
		{"delete", "--segment", "beta"},
		{"apply", "-f", file},
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			revision := int64(-1)
			f := &fleet{rollout: func(_ context.Context, after time.Duration, asked int64) (*plimsollv1.GetRolloutResponse, error) {
				revision = asked
				return &plimsollv1.GetRolloutResponse{Live: 1}, nil
			}}
			got := runWaiting(t, &made{}, f, 0, append(args, "--wait", "-o", "json")...)
			got.want(t, exitUnconfirmed, "the change was made and stays")
			var value struct {
				ChangeID string `json:"changeId"`
				Wait     *struct {
					Complete bool
					Revision int64
					Live     *int
				}
			}
			if err := json.Unmarshal([]byte(got.stdout), &value); err != nil {
				t.Fatalf("%v\n%s", err, got.stdout)
			}
			if value.ChangeID == "" || value.Wait == nil || value.Wait.Complete || value.Wait.Revision != 4711 || value.Wait.Live == nil {
				t.Errorf("stdout %s", got.stdout)
			}
			if revision != 4711 {
				t.Errorf("asked for revision %d", revision)
			}

			unasked := &fleet{rollout: f.rollout}
			if got := runWaiting(t, &made{}, unasked, 0, append(args, "-o", "json")...); got.code != exitDone || len(unasked.asked) != 0 || strings.Contains(got.stdout, `"wait"`) {
				t.Errorf("it waits unasked: %s", got.stdout)
			}
		})
	}
}

// TestWaitAfterFailure: a change that was only made in part is not waited for.
func TestWaitAfterFailure(t *testing.T) {
	f := &fleet{rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
		return &plimsollv1.GetRolloutResponse{Live: 1}, nil
	}}
	got := runWaiting(t, &made{failAt: "y"}, f, 0, "delete", "x", "y", "--wait")
	got.want(t, exitFailed, "flagctl: delete y: it is needed")
	if len(got.asked) != 0 || !strings.HasPrefix(got.stdout, "x: deleted\nrestore with:\n") {
		t.Errorf("asked at %v; stdout %s", got.asked, got.stdout)
	}
}

func TestWaitJSON(t *testing.T) {
	args := []string{"set", "x", "on", "--wait", "-o", "json"}
	complete := &fleet{rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
		return &plimsollv1.GetRolloutResponse{
			Live: 3, Applied: 3, Sent: 12, P50: millis(41), P99: millis(210), Slowest: millis(250),
			Servers: []*plimsollv1.FleetServer{{Id: "0123456789abcdef", Address: "http://a:8013", Zone: "eu-1", Version: "v1", Clients: 3, SilentStreams: 12, Position: at(4711)}},
		}, nil
	}}
	late := &fleet{rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
		return &plimsollv1.GetRolloutResponse{Live: 3, Applied: 2, Laggards: behind(1)}, nil
	}}
	never := &fleet{rollout: func(context.Context, time.Duration, int64) (*plimsollv1.GetRolloutResponse, error) {
		return nil, lostServer()
	}}
	for name, f := range map[string]*fleet{"complete": complete, "late": late, "never": never} {
		t.Run(name, func(t *testing.T) {
			got := runWaiting(t, &made{}, f, 0, args...)
			if want := map[bool]int{true: exitDone, false: exitUnconfirmed}[name == "complete"]; got.code != want {
				t.Errorf("exit code %d, want %d", got.code, want)
			}
			golden(t, "wait_"+name+".json", got.stdout)
		})
	}
}
