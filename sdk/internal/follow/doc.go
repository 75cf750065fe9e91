// Package follow keeps one process's copy of a namespace up to date over
// SyncService.Watch.
//
// A [Follower] is one loop ([Follower.Run]) that owns all state: it holds at
// most one stream at a time, applies what arrives, lets overrides and holds end
// on time whether or not anything arrives, and decides where to connect next.
// Everything it decides is told to one observer, in order.
//
//   - follow.go: the loop, and what becomes of a message
//   - session.go: one stream, from opening it to its end
//   - assemble.go: from the wire to flag.Update, and chunks to a snapshot
//   - rota.go: which endpoint next, and after how long
//   - search.go: the way back to a nearer endpoint
//   - offer.go: when the state of another store, or a lower one, is adopted
//   - position.go: the order within a store
//   - diary.go: what is logged
package follow
