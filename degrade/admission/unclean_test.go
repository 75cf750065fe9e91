package admission_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/plimsoll-dev/plimsoll/degrade/admission"
	"github.com/plimsoll-dev/plimsoll/degrade/admission/internal/crowd"
)

// A full server whose router takes every path as it is, decoded: nobody reaches
// the report by way of an exempt route.
func TestNobodyGetsAroundAdmission(t *testing.T) {
	c := crowd.Controller(t)
	crowd.Fill(t, c)
	address := strings.TrimPrefix(serve(t, edge(t, c, admission.WithRules(admission.Rule{Pattern: "/public/", Exempt: true})),
		func(w http.ResponseWriter, r *http.Request) {
			switch path.Clean(r.URL.Path) {
			case "/report", "/public/page":
				fmt.Fprint(w, "served")
			default:
				http.NotFound(w, r)
			}
		}), "http://")
	for line, want := range map[string]int{
		"GET /report":                                503,
		"GET /public/page":                           200,
		"GET /public/../report":                      503,
		"GET /public/%2e%2e/report":                  503,
		"GET /public/%2E./report":                    503,
		"GET /public/..%2freport":                    503,
		"GET /public/a%2f..%2f..%2freport":           503,
		"CONNECT /public/../report":                  503,
		"GET http://h/public/%2e%2e/report":          503,
		"GET /public/%2e%2e/public/%2e%2e%2f/report": 503,
	} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", line)
		first, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if !strings.Contains(first, fmt.Sprintf(" %d ", want)) {
			t.Errorf("%s: %q, want %d", line, first, want)
		}
		conn.Close()
	}
}
