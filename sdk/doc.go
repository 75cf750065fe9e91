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
// Evaluation goes on from memory: the answers are what they would be with the
// state last seen, overrides and holds still end on time, and the metadata
// "source" says "memory". OpenFeature's state is STALE until a stream is back.
// Before the first flags arrive, every answer is the caller's default with
// reason DEFAULT and no error. Init waits for them for 5 s (see
// [WithInitTimeout]) and never fails for want of a server.
//
// A state is never replaced by an older one. If for 30 s servers offer nothing
// but the state of another store, or a confirmed older state of the same one,
// it is adopted with a warning in the log: so that an app follows when a
// server's data was lost or restored.
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
package sdk
