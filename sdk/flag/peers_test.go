package flag

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The JavaScript peers: flagd's own evaluator and JSONLogic's reference, at the
// versions that testdata/peers pins, in one node process that all requests go
// through.

// peersFolder is where the peers are installed, below the repository and ignored
// by it.
const peersFolder = "../../.build/flag-peers"

// installPeers makes the folder, unless it already has what the lock file says.
func installPeers(t testing.TB) string {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is needed in CI for the comparison with the JavaScript evaluators: %v", tool, err)
			}
			t.Skipf("%s is not installed: the comparison with the JavaScript evaluators is left out", tool)
		}
	}
	folder, err := filepath.Abs(peersFolder)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	sum := sha256.New()
	for _, name := range []string{"package.json", "package-lock.json", "peers.mjs"} {
		text, err := os.ReadFile(filepath.Join("testdata", "peers", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = text
		sum.Write(text)
	}
	stamp := filepath.Join(folder, "stamp")
	want := hex.EncodeToString(sum.Sum(nil))
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		return folder
	}
	if err := errors.Join(os.RemoveAll(folder), os.MkdirAll(folder, 0o755)); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = folder
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci in %s: %v\n%s", folder, err, out)
	}
	if err := os.WriteFile(stamp, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
	return folder
}

// peerRequest is a rule for the reference, or a flag for flagd's evaluator.
type peerRequest struct {
	rule any
	// agreed asks for the reference with what all of flagd's implementations
	// change in it.
	agreed bool
	core   any
	flag   any
	data   map[string]any
}

func (r peerRequest) MarshalJSON() ([]byte, error) {
	if r.flag != nil {
		return json.Marshal(map[string]any{"flag": r.flag, "key": testKey, "data": r.data})
	}
	if r.core != nil {
		return json.Marshal(map[string]any{"core": r.core, "key": testKey, "data": r.data})
	}
	return json.Marshal(map[string]any{"rule": r.rule, "data": r.data, "agreed": r.agreed})
}

// peerAnswer is what a peer made of it.
type peerAnswer struct {
	Value     any
	Error     string
	Quirks    []string
	Variant   string
	Reason    string
	ErrorCode string
}

// askPeers sends all requests through one process.
func askPeers(t testing.TB, requests []peerRequest) []peerAnswer {
	t.Helper()
	folder := installPeers(t)
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, r := range requests {
		if err := enc.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	node := exec.CommandContext(ctx, "node", "peers.mjs")
	node.Dir = folder
	node.Stdin = &in
	var stderr bytes.Buffer
	node.Stderr = &stderr
	out, err := node.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, stderr.Bytes())
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 16<<20)
	var answers []peerAnswer
	for lines.Scan() {
		var a peerAnswer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatalf("answer %s: %v", lines.Bytes(), err)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(requests) {
		t.Fatalf("%d answers to %d requests", len(answers), len(requests))
	}
	return answers
}

// TestReference compares JSONLogic's own operations with its reference on rules
// of anything over anything, but for what all of flagd's implementations change. What depends on JavaScript's objects rather than on
// data is left out, and listed in DIFFERENCES.md.
func TestReference(t *testing.T) {
	const rules = 20_000
	g := newGenerator(1)
	requests := make([]peerRequest, rules)
	for i := range requests {
		requests[i] = peerRequest{rule: g.rule(3), agreed: true, data: g.data()}
	}
	quirks := map[string]int{}
	for i, answer := range askPeers(t, requests) {
		if len(answer.Quirks) > 0 {
			quirks[answer.Quirks[0]]++
			continue
		}
		rule := encode(requests[i].rule)
		got, err := evalRule(rule, requests[i].data, V2)
		if err != nil {
			t.Fatalf("rule %s: %v", rule, err)
		}
		if answer.Error != "" {
			t.Errorf("rule %s with %s: the reference fails: %s; got %s", rule, encode(requests[i].data), answer.Error, encode(lossless(got, requests[i].data)))
			continue
		}
		if want := answer.Value; !reflect.DeepEqual(lossless(got, requests[i].data), want) {
			t.Errorf("rule %s\nwith %s\ngot  %s\nwant %s", rule, encode(requests[i].data), encode(lossless(got, requests[i].data)), encode(want))
		}
	}
	t.Logf("left out: %v of %d", quirks, rules)
}

// TestFlagdCore compares whole flags, as people write them, with flagd's own
// JavaScript evaluator. Where the two answer differently, the flag must touch a
// case that DIFFERENCES.md lists.
func TestFlagdCore(t *testing.T) {
	const flags = 5_000
	g := newGenerator(2)
	requests := make([]peerRequest, flags)
	cases := make([]map[string]bool, flags)
	for i := range requests {
		fg := flagGenerator{g, map[string]bool{}}
		requests[i] = peerRequest{flag: fg.flag(), data: fg.context()}
		cases[i] = fg.cases
	}
	reasons, differ := map[string]int{}, map[string]int{}
	for i, want := range askPeers(t, requests) {
		text := encode(requests[i].flag)
		if want.Error != "" {
			t.Fatalf("flagd-core does not take %s: %s", text, want.Error)
		}
		s := setWith(t, Update{Flags: []Source{{testKey, text}}})
		got := s.String(testKey, "", requests[i].data)
		reasons[string(got.Reason)]++
		if disabled := requests[i].flag.(map[string]any)["state"] == "DISABLED"; disabled {
			if got.Reason != ReasonDisabled || got.HasValue {
				t.Errorf("%s: %+v", text, got)
			}
			continue // evaluate, which is asked there, does not look at the state
		}
		if got.Variant == want.Variant && string(got.Reason) == want.Reason && string(got.ErrorCode) == want.ErrorCode {
			continue
		}
		if _, there := requests[i].data["email"]; !there && strings.Contains(text, `"substr"`) {
			cases[i][caseNullSubstr] = true
		}
		if len(cases[i]) > 0 {
			for c := range cases[i] {
				differ[c]++
			}
			continue
		}
		t.Errorf("flag %s\nwith %s\ngot  %s %s %s\nwant %s %s %s", text, encode(requests[i].data),
			got.Variant, got.Reason, got.ErrorCode, want.Variant, want.Reason, want.ErrorCode)
	}
	t.Logf("reasons: %v; known cases among those that differ: %v", reasons, differ)
}
