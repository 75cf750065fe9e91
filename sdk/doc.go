// Package sdk is Plimsoll's provider for the OpenFeature Go SDK. It keeps a
// copy of one namespace's flags inside the process, up to date by a stream from
// the server, and evaluates there: an evaluation takes no lock, makes no call
// and allocates nothing for bools, strings and numbers.
//
// # Use
//
//	provider, err := sdk.NewProvider(sdk.WithEndpoints("https://flags-a:8013", "https://flags-b:8013"))
//	if err != nil {
//		return err // an option is wrong; a server that cannot be reached is no error
//	}
//	if err := openfeature.SetProviderWithContextAndWait(ctx, provider); err != nil {
//		return err // the context was canceled
//	}
//	defer openfeature.Shutdown()
//
//	client := openfeature.NewDefaultClient()
//	user := openfeature.NewEvaluationContext("user-42", map[string]any{"plan": "pro"})
//	if client.Boolean(ctx, "new-checkout", false, user) {
//		...
//	}
//
// # When servers are gone
//
// What is served then is the best there is, in this order:
//
//   - a live stream, from the nearest server that is well (see
//     [WithZoneEndpoints]);
//   - memory: the answers are what they would be with the state last seen;
//   - the cache on disk or the bootstrap file, whichever has the later state, when
//     the process starts (see [WithCacheDir] and [WithBootstrapFile]);
//   - the caller's default, with reason DEFAULT and no error.
//
// The metadata "source" of an answer says "memory", "cache" or "bootstrap"; a live
// one has none. In all of them overrides and holds end on time. OpenFeature's state
// is STALE until there is a stream. Init waits for one for 500 ms if there are flags
// on disk, else for 5 s (see [WithInitTimeout]), and never fails for want of a
// server. No file that is missing, damaged or cannot be written stops an app: the log
// says so, and it works without.
//
// A state is never replaced by an older one, in memory or on disk. If for 30 s
// servers offer nothing but the state of another store, or a confirmed older state of
// the same one, it is adopted with a warning in the log: so that an app follows when
// a server's data was lost or restored.
//
// # On a developer's machine
//
// [WithFile] takes the flags from a file instead of servers. And an environment
// variable PLIMSOLL_OVERRIDE_NAME=VARIANT pins a flag in this process, whatever
// servers say: NAME is the flag's key in upper case, with _ in place of every byte
// that is not A-Z or 0-9, so that PLIMSOLL_OVERRIDE_NEW_CHECKOUT=on is about
// new-checkout. A warning in the log lists them at the start, and servers show how
// many flags a process overrides.
//
// # Reasons and metadata
//
// Beside OpenFeature's own reasons there are DEGRADED, for a flag that is shed
// by the level of degradation, with metadata "tier", "level" and "revision", and
// OVERRIDE, for a flag that an operator pinned. Metadata maps, and the values of
// object flags, are shared by all answers: they must not be changed.
//
// # Events
//
// PROVIDER_CONFIGURATION_CHANGED names the flags whose answer may have changed.
// Where it names none, any may have: its metadata "level" then holds the new
// level of degradation, if that is what moved. Events that wait while a handler
// is slow are merged, so the newest is what counts.
//
// # The end
//
// A provider that is shut down tells so by a last STALE and in the log, and goes on
// serving what it has seen last. OpenFeature shuts a provider down some time after
// it was replaced, even if it is bound again by then. So make a new provider instead
// of binding a replaced one again.
package sdk
