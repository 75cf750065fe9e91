package hour

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func minute(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }

// floor is a hold; until is the minute at which it ends, 0 for never.
func floor(name string, level uint32, until int) *plimsollv1.Hold {
	h := &plimsollv1.Hold{Name: name, FloorMillionths: &level}
	if until != 0 {
		h.ExpiresAt = timestamppb.New(minute(until))
	}
	return h
}

// set is the record of a hold that becomes another; nil is none.
func set(at int, name string, before, after *plimsollv1.Hold) *plimsollv1.AuditRecord {
	o := &plimsollv1.AuditObject{Object: "holds/" + name}
	for _, one := range []struct {
		to   *[]byte
		hold *plimsollv1.Hold
	}{{&o.Before, before}, {&o.After, after}} {
		if one.hold != nil {
			value, err := proto.Marshal(one.hold)
			if err != nil {
				panic(err)
			}
			*one.to = value
		}
	}
	return &plimsollv1.AuditRecord{Time: timestamppb.New(minute(at)), Objects: []*plimsollv1.AuditObject{o}}
}

func auto(at int, before uint32) *plimsollv1.AuditRecord {
	value, err := proto.Marshal(&plimsollv1.StoredLevel{AutoMillionths: before})
	if err != nil {
		panic(err)
	}
	return &plimsollv1.AuditRecord{Time: timestamppb.New(minute(at)), Objects: []*plimsollv1.AuditObject{{Object: "level", Before: value}}}
}

func TestHistory(t *testing.T) {
	other := &plimsollv1.AuditRecord{Time: timestamppb.New(minute(-1)), Objects: []*plimsollv1.AuditObject{{Object: "flags/a"}}}
	for _, c := range []struct {
		name    string
		holds   []*plimsollv1.Hold
		auto    uint32
		records []*plimsollv1.AuditRecord // newest first
		want    string                    // minute:level, oldest first
	}{
		{"nothing ever", nil, 0, nil, "-60:0"},
		{"other changes", nil, 0, []*plimsollv1.AuditRecord{other}, "-60:0"},
		{"a hold since before", []*plimsollv1.Hold{floor("a", 400_000, 0)}, 0, nil, "-60:0.4"},
		{"set within the hour", []*plimsollv1.Hold{floor("a", 400_000, 0)}, 0, []*plimsollv1.AuditRecord{set(-10, "a", nil, floor("a", 400_000, 0))}, "-60:0 -10:0.4"},
		{
			"set and removed", nil, 0,
			[]*plimsollv1.AuditRecord{set(-5, "a", floor("a", 400_000, 0), nil), set(-10, "a", nil, floor("a", 400_000, 0))},
			"-60:0 -10:0.4 -5:0",
		},
		{
			"lapsed, and the record came later", nil, 0,
			[]*plimsollv1.AuditRecord{set(-5, "a", floor("a", 400_000, -7), nil), set(-10, "a", nil, floor("a", 400_000, -7))},
			"-60:0 -10:0.4 -7:0",
		},
		{
			"lapsed, and no record yet", nil, 0,
			[]*plimsollv1.AuditRecord{set(-10, "a", nil, floor("a", 400_000, -7))},
			"-60:0 -10:0.4 -7:0",
		},
		{
			"two operators, one lapses, one is lifted", nil, 0,
			[]*plimsollv1.AuditRecord{
				set(-5, "b", floor("b", 250_000, 0), nil), set(-19, "a", floor("a", 1_250_000, -20), nil),
				set(-30, "b", nil, floor("b", 250_000, 0)), set(-40, "a", nil, floor("a", 1_250_000, -20)),
			},
			"-60:0 -40:1.25 -20:0.25 -5:0",
		},
		{"changed twice", []*plimsollv1.Hold{floor("a", 900_000, 0)}, 0, []*plimsollv1.AuditRecord{
			set(-10, "a", floor("a", 500_000, 0), floor("a", 900_000, 0)), set(-20, "a", nil, floor("a", 500_000, 0)),
		}, "-60:0 -20:0.5 -10:0.9"},
		{"the policies move it", nil, 700_000, []*plimsollv1.AuditRecord{auto(-3, 200_000), auto(-6, 0)}, "-60:0 -6:0.2 -3:0.7"},
		{"older than the hour", nil, 0, []*plimsollv1.AuditRecord{set(-61, "a", floor("a", 500_000, 0), nil)}, "-60:0"},
		{"a clock ahead", []*plimsollv1.Hold{floor("a", 400_000, 0)}, 0, []*plimsollv1.AuditRecord{set(1, "a", nil, floor("a", 400_000, 0))}, "-60:0 0:0.4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := History(minute(-60), noon, &plimsollv1.GetDegradationResponse{AutoMillionths: c.auto, Holds: c.holds}, c.records)
			var text string
			for i, p := range got {
				if i > 0 {
					text += " "
				}
				text += fmt.Sprintf("%d:%s", int(p.At.Sub(noon)/time.Minute), p.Level)
			}
			if text != c.want {
				t.Errorf("got %s, want %s", text, c.want)
			}
			if !slices.IsSortedFunc(got, func(a, b Point) int { return a.At.Compare(b.At) }) {
				t.Error("not in the order of time")
			}
		})
	}
}
