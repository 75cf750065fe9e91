package follow

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	plimsollv1 "github.com/plimsoll-dev/plimsoll/proto/plimsoll/v1"
	"github.com/plimsoll-dev/plimsoll/sdk/flag"
)

// position is a point in the history of one store. Positions of different
// stores do not compare.
type position struct {
	epoch    uint64
	revision int64
}

func (p position) before(q position) bool {
	if p.epoch != q.epoch {
		return p.epoch < q.epoch
	}
	return p.revision < q.revision
}

// String is the position as servers write it in plimsoll-behind.
func (p position) String() string { return fmt.Sprintf("%d/%d", p.epoch, p.revision) }

func parsePosition(s string) (position, error) {
	epoch, revision, ok := strings.Cut(s, "/")
	e, errE := strconv.ParseUint(epoch, 10, 64)
	r, errR := strconv.ParseInt(revision, 10, 64)
	if !ok || errE != nil || errR != nil || r < 0 {
		return position{}, fmt.Errorf("%q is not a position: want EPOCH/REVISION", s)
	}
	return position{e, r}, nil
}

// positionOf is the store and position that a message carries.
func positionOf(m *plimsollv1.WatchResponse) (store string, at position, err error) {
	p := m.GetPosition()
	if p.GetStoreId() == "" {
		return "", position{}, errors.New("the server sent a message without a position")
	}
	return p.GetStoreId(), position{p.GetEpoch(), p.GetRevision()}, nil
}

// positionIn is where a set stands.
func positionIn(s *flag.Set) position { return position{s.Epoch(), s.Revision()} }
