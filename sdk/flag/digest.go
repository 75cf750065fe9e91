package flag

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"
	"strconv"
)

// Digest is the same for sets that answer every context alike, whatever their
// revisions: it is made from definitions, rules and settings. There is none, and ok
// is false, while answers have more to them: where something is shed, overridden
// or guarded they name a revision, and what does not compile may have a last good
// version that is no longer written down anywhere.
func (s *Set) Digest() (digest [sha256.Size]byte, ok bool) {
	v := s.view
	if s.broken.n > 0 || s.brokenRules.n > 0 || s.settingsFaults != nil || v.guards.n > 0 || v.level > 0 {
		return digest, false
	}
	for key := range s.overrides.all() {
		if f, ok := s.flags.get(key); ok && f.override != nil {
			return digest, false
		}
	}
	d := digester{sha256.New()}
	d.text(s.settings.Metadata, s.source, strconv.Itoa(int(s.settings.Bucketing)))
	rules := maps.Collect(s.rules.all())
	for _, id := range slices.Sorted(maps.Keys(rules)) {
		d.text(id, rules[id].rule.text)
	}
	d.text("") // no rule is called so
	for _, key := range s.AllKeys() {
		f, _ := s.flags.get(key)
		d.text(key, f.def.text)
	}
	d.hash.Sum(digest[:0])
	return digest, true
}

// digester hashes texts with their lengths.
type digester struct{ hash hash.Hash }

func (d digester) text(list ...string) {
	for _, text := range list {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(text)))
		_, _ = d.hash.Write(size[:]) // a hash takes everything
		_, _ = d.hash.Write([]byte(text))
	}
}
