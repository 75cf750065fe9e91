// Package shelf keeps the newest state of a namespace on disk, so that a process
// can start without a server, and reads the files that stand in for one.
//
//   - shelf.go: the cache: what is written when, and which file is read
//   - file.go: one file of the cache, written so that a crash leaves the old one
//     or the new one
//   - lock_unix.go, lock_other.go: one writer at a time
//   - document.go: a file as a person writes it, or the cache's
package shelf
