package sdk_test

import (
	"os/exec"
	"strings"
	"testing"
)

// The package is linked into every app, so it must not bring servers with it.
func TestDependenciesStayLight(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	forbidden := []string{
		"go.etcd.io/", "google.golang.org/grpc", "google.golang.org/genproto",
		"github.com/a-h/templ", "github.com/prometheus/", "go.opentelemetry.io/otel/sdk",
		"buf.build/go/protovalidate", "github.com/google/cel-go", "cel.dev/",
		"connectrpc.com/validate", "connectrpc.com/grpchealth", "connectrpc.com/grpcreflect",
		"github.com/spf13/", "charm.land/", "github.com/goccy/go-yaml",
		"github.com/diegoholiveira/jsonlogic", "go.uber.org/zap", "net/http/httptest", "testing",
		"github.com/plimsoll-dev/plimsoll/store", "github.com/plimsoll-dev/plimsoll/cmd",
		"github.com/plimsoll-dev/plimsoll/ui", "github.com/plimsoll-dev/plimsoll/sdk/internal/fakeserver", "github.com/plimsoll-dev/plimsoll/proto/flagd",
	}
	for _, dependency := range strings.Fields(string(out)) {
		for _, f := range forbidden {
			if dependency == f || strings.HasPrefix(dependency, strings.TrimSuffix(f, "/")+"/") {
				t.Errorf("sdk depends on %s", dependency)
			}
		}
	}
}
