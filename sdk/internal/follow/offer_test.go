package follow

import (
	"testing"
	"time"
)

func TestOffer(t *testing.T) {
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var o offer
	if !o.note("own", true, position{1, 50}, at(0)) || o.note("own", true, position{1, 60}, at(10)) || o.note("own", true, position{1, 40}, at(20)) {
		t.Error("only the first of the same offers is new")
	}
	if o.head != (position{1, 60}) {
		t.Errorf("head %s, want the highest", o.head)
	}
	if o.lowerDue(at(29)) || !o.lowerDue(at(30)) {
		t.Error("due 30 s after it was first seen")
	}
	if !o.note("other", false, position{1, 1}, at(31)) || !o.due().Equal(at(61)) {
		t.Error("another offer begins anew")
	}
	if o.lowerDue(at(100)) {
		t.Error("another store is not a lower head")
	}
}

func TestParsePosition(t *testing.T) {
	for _, text := range []string{"", "1", "1/", "/1", "a/1", "1/b", "-1/1", "1/-1", "1/2/3", " 1/2"} {
		if p, err := parsePosition(text); err == nil {
			t.Errorf("%q was read as %s", text, p)
		}
	}
	p, err := parsePosition("3/42")
	if err != nil || p != (position{3, 42}) || p.String() != "3/42" {
		t.Errorf("3/42 was read as %s, %v", p, err)
	}
	if !p.before(position{4, 1}) || !p.before(position{3, 43}) || p.before(p) || p.before(position{2, 99}) {
		t.Error("positions are ordered by epoch, then revision")
	}
}
