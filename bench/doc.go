// Package bench measures Plimsoll's evaluation beside its peers, in one run:
// the OpenFeature SDK's own in-memory provider and LaunchDarkly's Go SDK.
//
// It is a module of its own, so that the peers' dependencies never enter the
// product. Everything is in its tests; `make bench` in the repository's root
// runs them and prints medians, and docs/performance.md holds the figures.
package bench
