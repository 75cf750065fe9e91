package sdk_test

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/plimsoll-dev/plimsoll/sdk"
	"github.com/plimsoll-dev/plimsoll/sdk/internal/fakeserver"
)

// zoned are servers in a bubble, and where streams are.
type zoned struct {
	*app
	servers map[string]*fakeserver.Server
}

func inZones(t *testing.T, hosts string, test func(t *testing.T, z *zoned)) {
	t.Helper()
	inBubble(t, func(t *testing.T, a *app) {
		z := &zoned{a, map[string]*fakeserver.Server{"a": a.server}}
		for _, h := range hosts {
			if host := string(h); host != "a" {
				z.servers[host] = fakeserver.New(t, a.network, host, "store-1")
			}
			z.servers[string(h)].Put(map[string]string{"f": on})
		}
		test(t, z)
	})
}

// follow starts a provider that has no endpoints but those of the options.
func (z *zoned) follow(options ...sdk.Option) {
	z.t.Helper()
	p, err := sdk.NewProvider(append([]sdk.Option{
		sdk.WithHTTPClient(z.network.Client(z.t)),
		sdk.WithLogger(slog.New(slog.NewTextHandler(&lockedWriter{z.app}, nil))),
		sdk.WithShuffle(func(int, func(i, j int)) {}),
	}, options...)...)
	if err != nil {
		z.t.Fatal(err)
	}
	z.provider = p
	z.start()
}

func (z *zoned) at() (hosts string) {
	synctest.Wait()
	for _, host := range []string{"a", "b", "c", "d"} {
		if s := z.servers[host]; s != nil && s.Streams() > 0 {
			hosts += host
		}
	}
	return hosts
}

func (z *zoned) wantAt(want string) {
	z.t.Helper()
	if got := z.at(); got != want {
		z.t.Errorf("the stream is at %q, want %q", got, want)
	}
}

func TestOwnZoneFirst(t *testing.T) {
	inZones(t, "abcd", func(t *testing.T, z *zoned) {
		z.follow(
			sdk.WithZoneEndpoints("west", "http://a"), sdk.WithEndpoints("http://b"),
			sdk.WithZoneEndpoints("east", "http://c", "http://d"), sdk.WithZone("east"),
		)
		for _, host := range []string{"c", "d", "b", "a"} {
			z.wantAt(host)
			z.after(10 * time.Second)
			z.servers[host].Stop()
			z.after(2 * time.Second)
		}
	})
}

func TestOrderWithinAZoneIsDrawn(t *testing.T) {
	inZones(t, "abcd", func(t *testing.T, z *zoned) {
		drawn := 0
		z.follow(
			sdk.WithEndpoints("http://a", "http://b", "http://c"), sdk.WithZoneEndpoints("east", "http://d"),
			sdk.WithShuffle(func(n int, swap func(i, j int)) {
				drawn = n
				swap(0, 2)
			}),
		)
		z.wantAt("c")
		if drawn != 4 {
			t.Errorf("drawn among %d", drawn)
		}
	})
}

// Unless told otherwise a fleet spreads by chance: with three servers, hundreds of
// providers leave none out.
func TestFleetSpreads(t *testing.T) {
	inZones(t, "abc", func(t *testing.T, z *zoned) {
		seen := map[string]bool{}
		for i := 0; i < 300 && len(seen) < 3; i++ {
			z.follow(sdk.WithEndpoints("http://a", "http://b", "http://c"), sdk.InRandomOrder)
			seen[z.at()] = true
			z.leave()
		}
		if len(seen) != 3 {
			t.Errorf("streams were at %v only", seen)
		}
	})
}

func TestBackToTheOwnZone(t *testing.T) {
	for _, test := range []struct {
		name string
		code int
		body string
		back bool
	}{
		{"well", 200, "ok\n", true},
		{"in trouble", 200, "ok, but:\netcd is lost\n", false},
		{"draining", 503, "draining\n", false},
		{"something else", 200, "<html>", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inZones(t, "ab", func(t *testing.T, z *zoned) {
				z.servers["a"].Stop()
				z.follow(sdk.WithZone("near"), sdk.WithZoneEndpoints("near", "http://a"), sdk.WithZoneEndpoints("far", "http://b"))
				z.wantAt("b")
				z.after(time.Second)
				z.told()
				z.servers["a"].SetReady(test.code, test.body)
				z.servers["a"].Start()
				z.after(3 * time.Minute)
				if asked := z.servers["a"].ReadyAsked(); asked == 0 {
					t.Error("the near server was not asked")
				}
				if test.back {
					z.wantAt("a")
				} else {
					z.wantAt("b")
				}
				if kinds, _ := z.told(); len(kinds) != 0 {
					t.Errorf("told %v, want no event", kinds)
				}
				z.wantState(openfeature.ReadyState)
				z.servers["a"].Put(map[string]string{"f": off})
				z.servers["b"].Put(map[string]string{"f": off})
				synctest.Wait()
				if d := z.bool("f", true); d.Value {
					t.Errorf("f is %+v, want the newest", d)
				}
			})
		})
	}
}

func ExampleWithZoneEndpoints() {
	_, err := sdk.NewProvider(
		sdk.WithZone("eu-1a"),
		sdk.WithZoneEndpoints("eu-1a", "https://flags-a.internal:8013"),
		sdk.WithZoneEndpoints("eu-1b", "https://flags-b.internal:8013"),
		sdk.WithCacheDir("/var/cache/shop"),
	)
	fmt.Println(err)
	// Output: <nil>
}
