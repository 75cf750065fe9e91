package store

import (
	"fmt"
	"strconv"
	"strings"
)

// Prefix is where everything of Plimsoll lives in etcd.
const Prefix = "/plimsoll/v1/"

const (
	keyIdentity = Prefix + "store"
	prefixNS    = Prefix + "ns/"
	prefixAudit = Prefix + "audit/"

	prefixServers = Prefix + "servers/"
	keyPeerSecret = Prefix + "secrets/peers"
)

// Names of objects below ns/<ns>/. The kinds that hold many objects end in a
// slash.
const (
	objHead     = "head"
	objSettings = "settings"
	objPlan     = "plan"
	objSetMeta  = "setmeta"
	objLevel    = "level"

	kindFlag      = "flags/"
	kindSegment   = "segments/"
	kindEvaluator = "evaluators/"
	kindOverride  = "overrides/"
	kindHold      = "holds/"
)

// DefaultNamespace exists from the start and cannot be deleted.
const DefaultNamespace = "default"

// CheckNamespace says what is wrong with a namespace's name, if anything is.
// Every request does.
func CheckNamespace(name string) error {
	fine := len(name) >= 1 && len(name) <= 63
	for i := 0; fine && i < len(name); i++ {
		c := name[i]
		fine = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
	}
	if !fine {
		return fmt.Errorf("namespace %q: a name has 1 to 63 lower-case letters, digits and hyphens", name)
	}
	return nil
}

func objectKey(ns, object string) string { return prefixNS + ns + "/" + object }

func auditPrefix(ns string) string { return prefixAudit + ns + "/" }

func auditKey(ns string, seq uint64) string {
	return fmt.Sprintf("%s%020d", auditPrefix(ns), seq)
}

func serverKey(id string) string { return prefixServers + id }

// splitServer is the id in a key below servers/.
func splitServer(key string) (id string, ok bool) {
	id, ok = strings.CutPrefix(key, prefixServers)
	return id, ok && id != ""
}

// splitNS splits a key below ns/ into namespace and object.
func splitNS(key string) (ns, object string, ok bool) {
	rest, ok := strings.CutPrefix(key, prefixNS)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}

// splitAudit splits a key below audit/ into namespace and sequence.
func splitAudit(key string) (ns string, seq uint64, ok bool) {
	rest, ok := strings.CutPrefix(key, prefixAudit)
	if !ok {
		return "", 0, false
	}
	ns, digits, ok := strings.Cut(rest, "/")
	if !ok {
		return "", 0, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	return ns, seq, err == nil
}
