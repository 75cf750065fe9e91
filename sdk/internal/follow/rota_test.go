package follow

import (
	"testing"
	"time"
)

func TestRotaPrefersWhoHadNoTrouble(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, test := range []struct {
		name     string
		current  int
		a, b, c  endpoint
		want     int
		other    bool // than the current one is worth a try
		longWait bool
	}{
		{name: "the first of all", current: -1, want: 0, other: true},
		{name: "the next", current: 0, want: 1, other: true},
		{name: "round", current: 2, want: 0, other: true},
		{name: "past one in trouble", current: 0, b: endpoint{troubled: ago(time.Second)}, want: 2, other: true},
		{name: "not past an old trouble", current: 0, b: endpoint{troubled: ago(troubleMemory)}, want: 1, other: true},
		{
			name: "in turn when all are in trouble", current: 1,
			a: endpoint{troubled: ago(1)}, b: endpoint{troubled: ago(2)}, c: endpoint{troubled: ago(3)}, want: 2,
		},
		{
			name: "back when the others are in trouble", current: 1,
			a: endpoint{troubled: ago(1)}, c: endpoint{troubled: ago(3)}, want: 1,
		},
		{
			name: "in trouble rather than barred", current: 0,
			a: endpoint{troubled: ago(1)}, b: endpoint{barred: now.Add(time.Hour)}, c: endpoint{troubled: ago(1)}, want: 2,
		},
		{
			name: "the first that is no longer barred", current: 0,
			a: endpoint{barred: now.Add(3 * time.Hour)}, b: endpoint{barred: now.Add(2 * time.Hour)}, c: endpoint{barred: now.Add(time.Hour)},
			want: 2, longWait: true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRota(nil, func(time.Duration) time.Duration { return 0 })
			r.endpoints = []*endpoint{&test.a, &test.b, &test.c}
			r.current = test.current
			if test.current >= 0 {
				if got := r.hasAlternative(r.endpoints[test.current], now); got != test.other {
					t.Errorf("another is worth a try: %v, want %v", got, test.other)
				}
			}
			e, pause := r.next(now)
			if e != r.endpoints[test.want] || r.current != test.want {
				t.Errorf("endpoint %d, want %d", r.current, test.want)
			}
			if (pause >= time.Hour) != test.longWait {
				t.Errorf("pause %s", pause)
			}
		})
	}
}
