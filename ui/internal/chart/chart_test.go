package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"

	"github.com/plimsoll-dev/plimsoll/degrade"
)

func render(t *testing.T, c templ.Component) string {
	t.Helper()
	var b strings.Builder
	if err := c.Render(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader("<x>" + b.String() + "</x>")); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return b.String()
		} else if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, b.String())
		}
	}
}

func TestDial(t *testing.T) {
	for _, c := range []struct {
		level degrade.Level
		most  int
		want  string
	}{
		{0, 3, `aria-label="Level 0 of 3"`},
		{degrade.One * 3 / 2, 3, `class="dial-fill" d="M20 100A80 80 0 0 1 100 20"`},
		{degrade.One * 3, 3, `class="dial-fill" d="M20 100A80 80 0 0 1 180 100"`},
		{degrade.One * 9, 3, `class="dial-fill" d="M20 100A80 80 0 0 1 180 100"`},
		{0, 0, "of 0"},
	} {
		if got := render(t, Dial(c.level, c.most)); !strings.Contains(got, c.want) || strings.Contains(got, "NaN") {
			t.Errorf("Dial(%s, %d): %s\nwant %s", c.level, c.most, got, c.want)
		}
	}
	if got := render(t, Dial(0, 3)); strings.Contains(got, "dial-fill") {
		t.Error("nothing shed is drawn as something")
	}
}

func TestSteps(t *testing.T) {
	to := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	from := to.Add(-time.Hour)
	got := render(t, Steps("Level", []Step{{At: from}, {At: from.Add(30 * time.Minute), Level: degrade.One, Why: `<b>"ada" shed`}}, from, to, 2))
	for _, want := range []string{
		`class="steps-line" d="M34 164H493V87H952"`,
		`class="steps-area" d="M34 164L34 164H493V87H952V164Z"`,
		"level 1 from 11:30:00 to 12:00:00 UTC: &lt;b&gt;&#34;ada&#34; shed",
		"<td>11:30:00</td><td>1</td>",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
	render(t, Steps("Level", nil, from, to, 2))
	if got := render(t, Steps("Level", []Step{{At: to}}, to, to, 0)); strings.Contains(got, "NaN") || strings.Contains(got, "Inf") {
		t.Error(got)
	}
}
