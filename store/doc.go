// Package store keeps Plimsoll's state in etcd and every server's view of it
// in memory.
//
// Writing: each verb (flags.go, apply.go, namespaces.go, overrides.go, level.go,
// plan.go, undo.go) is a function from the newest snapshot to the objects it wants
// written; commit.go turns that into one etcd transaction together with the
// namespace's head and a chained audit record, and repeats it when another writer
// was faster. effect.go rehearses a change, and splits what is too large.
//
// Reading: follow.go lists the prefix once and then holds one watch, which it
// folds into an immutable [Snapshot] for each namespace (snapshot.go). Readers
// take the newest snapshot from an atomic pointer and never block a writer.
//
// The store is the same over an embedded member (embedded.go) and an external
// cluster (external.go): all it is given is an etcd client.
package store
