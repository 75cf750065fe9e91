package flag

import (
	"strings"
	"testing"
)

// Whole numbers that a double does not tell apart are refused as variants, and
// warned of inside of objects, whose text some protocols carry as it is.
func TestIntegersBeyondADouble(t *testing.T) {
	const ok, beyond = "9007199254740991", "9007199254740993"
	for variant, want := range map[string]string{
		ok: "", "-" + ok: "", beyond: "error", "-" + beyond: "error",
		`{"n":` + ok + `}`: "", `{"n":1e300}`: "warning", `{"n":[{"m":` + beyond + `}]}`: "warning", `{"n":"` + beyond + `"}`: "",
	} {
		d, faults := Parse("f", []byte(`{"state":"ENABLED","variants":{"v":`+variant+`},"defaultVariant":"v"}`), Env{})
		if (d == nil) != (want == "error") {
			t.Errorf("%s: %v", variant, faults)
		}
		got := ""
		for _, f := range faults {
			if strings.Contains(f.Message, "whole numbers beyond") {
				got = f.Severity.String()
			}
		}
		if got != want {
			t.Errorf("%s: %v", variant, faults)
		}
	}
}
