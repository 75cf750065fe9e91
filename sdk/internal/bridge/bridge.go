// Package bridge lets package sdktest make a provider that has its flags from
// code, without a way for apps to do the same.
package bridge

import (
	"log/slog"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// Test is a provider under a test's control.
type Test struct {
	// Provider is an *sdk.Provider.
	Provider any
	// Update changes the flags, and tells what is wrong with them.
	Update func(flag.Update) []flag.Problem
	// Flag tells whether there is a flag of the key.
	Flag func(key string) bool
	// Counts calls each for what was evaluated since the last call.
	Counts func(each func(flag.Count))
	// Tracked is what was tracked since the last call.
	Tracked func() []*plimsollv1.TrackedEvent
}

// New makes a provider. Package sdk sets it.
var New func(*slog.Logger) Test
