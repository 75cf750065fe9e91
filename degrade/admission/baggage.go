package admission

import (
	"context"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/baggage"
)

// BaggageKey is the key of the W3C Baggage member that carries a request's
// tier, by name, from one service to the next.
const BaggageKey = "plimsoll-tier"

const (
	baggageHeader = "Baggage"
	// What everybody has to pass on, by the W3C's recommendation Baggage; more
	// is neither read nor sent.
	maxBaggage        = 8192
	maxBaggageMembers = 64
)

type tierKey struct{}

// ContextWithTier returns a context for work on behalf of a request of this
// rank, 0 being the most important. Calls made with it carry the tier on, if
// they go through a [Throttle].
func ContextWithTier(ctx context.Context, rank int) context.Context {
	return context.WithValue(ctx, tierKey{}, max(rank, 0))
}

// TierFromContext returns the rank that the middleware, or ContextWithTier, has
// put into the context.
func TierFromContext(ctx context.Context) (rank int, ok bool) {
	rank, ok = ctx.Value(tierKey{}).(int)
	return rank, ok
}

// claimed returns the tier that baggage headers name, and how often they name
// one. Of several the last counts, as in OpenTelemetry. What is beyond the limit
// is not read, and counts as another claim. It allocates nothing for a name
// without percent-encoding.
func claimed(headers []string) (name string, times int) {
	left := maxBaggage
	for _, header := range headers {
		if left -= len(header); left < 0 {
			return name, times + 1
		}
		for rest, more := header, true; more; {
			var member string
			member, rest, more = strings.Cut(rest, ",")
			if value, ok := ourMember(member); ok {
				name = value
				times++
			}
		}
	}
	return name, times
}

// ourMember returns the value of a list member that carries a tier.
func ourMember(member string) (value string, ok bool) {
	key, value, ok := strings.Cut(member, "=")
	// White space as OpenTelemetry's parser takes it, which is more than the
	// standard's: what that finds behind this edge must not have passed it.
	if !ok || strings.TrimSpace(key) != BaggageKey {
		return "", false
	}
	value, _, _ = strings.Cut(value, ";") // without its properties
	value = strings.TrimSpace(value)
	if !strings.Contains(value, "%") {
		return value, true
	}
	// What cannot be decoded is no tier's name, but still a member of ours.
	decoded, err := url.PathUnescape(value)
	if err != nil {
		return "", true
	}
	return decoded, true
}

// withTier returns a baggage header with the tier in front and what headers
// hold besides, of which as many members stay, whole, as fit into the limits.
func withTier(headers []string, tier string) string {
	var b strings.Builder
	b.WriteString(BaggageKey)
	b.WriteByte('=')
	b.WriteString(url.PathEscape(tier))
	members := 1
	for _, header := range headers {
		for rest, more := header, true; more; {
			var member string
			member, rest, more = strings.Cut(rest, ",")
			member = strings.Trim(member, " \t")
			if _, ours := ourMember(member); ours || member == "" {
				continue
			}
			if members == maxBaggageMembers || b.Len()+1+len(member) > maxBaggage {
				return b.String()
			}
			b.WriteByte(',')
			b.WriteString(member)
			members++
		}
	}
	return b.String()
}

// withOTelTier puts the tier into OpenTelemetry's baggage, so that calls which
// only OpenTelemetry instruments carry it on, and carry on no tier that was
// claimed but not granted.
func withOTelTier(ctx context.Context, member baggage.Member) context.Context {
	set, err := baggage.FromContext(ctx).SetMember(member)
	if err != nil {
		// Full of other members. One of ours that was in it would have been
		// replaced, so nothing wrong is carried on.
		return ctx
	}
	return baggage.ContextWithBaggage(ctx, set)
}
