package admission

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"time"
)

// luck is the order of the cohorts in one hour: the callers whose cohort comes
// first are served first. It follows from the seed and the hour, so it is the
// same in every process.
type luck [cohorts]uint8

// of is the place of a caller's cohort in that order, 0 the luckiest. Without a
// caller it is drawn.
func (l *luck) of(caller string) int {
	if caller == "" {
		return int(rand.Uint64() % cohorts)
	}
	return int(l[hash(caller)%cohorts])
}

func newLuck(seed uint64, hour int64) *luck {
	var l luck
	for i, p := range rand.New(rand.NewPCG(seed, uint64(hour))).Perm(cohorts) {
		l[i] = uint8(p)
	}
	return &l
}

// luckRead is for how long the wall clock need not be read for the hour, in
// seconds. It may be set, and goes on while the process is suspended.
const luckRead = 1.0

// setLuck draws the order for the hour that it is, and says whether that is a
// new one. The lock is held.
func (c *Controller) setLuck() bool {
	now := time.Now()
	over := time.Duration(3600-now.Unix()%3600)*time.Second - time.Duration(now.Nanosecond())
	c.luckUntil = now.Sub(c.start).Seconds() + min(luckRead, over.Seconds())
	hour := now.Unix() / 3600
	if c.luck.Load() != nil && hour == c.hour {
		return false
	}
	c.hour = hour
	c.luck.Store(newLuck(c.config.seed, hour))
	return true
}

// hash spreads callers over cohorts. It is a multiply-and-fold hash over words
// of eight bytes, with constants of SplitMix64. It need not resist attackers: who
// finds a lucky name keeps the luck for an hour, within a tier.
func hash(s string) uint64 {
	h := uint64(len(s)) ^ 0x9e3779b97f4a7c15
	for len(s) >= 8 {
		h = fold(h ^ word(s))
		s = s[8:]
	}
	if len(s) > 0 {
		var rest [8]byte
		copy(rest[:], s)
		h = fold(h ^ binary.LittleEndian.Uint64(rest[:]))
	}
	return fold(h)
}

func word(s string) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func fold(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0xbf58476d1ce4e5b9, 0x94d049bb133111eb)
	return hi ^ lo
}
