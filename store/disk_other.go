//go:build !unix

package store

import "math"

// lockDir does nothing here: do not start two servers on one folder.
func lockDir(string) (unlock func(), err error) { return func() {}, nil }

// freeSpace is not known here.
func freeSpace(string) (uint64, error) { return math.MaxUint64, nil }
