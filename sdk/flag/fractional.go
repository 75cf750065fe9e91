package flag

import (
	"math"

	"github.com/twmb/murmur3"
)

// maxWeight is the largest weight of a bucket, and the largest sum of weights.
const maxWeight = math.MaxInt32

// buckets is a compiled fractional.
type buckets struct {
	by      *node    // the bucketing value; nil when the first argument is a bucket
	list    []bucket // when all of them are written out
	dynamic []*node  // else: expressions that yield buckets, the first perhaps the value
	total   int64    // sum of the weights when all are constant, else -1
	plain   bool     // all variants and weights are constant
}

type bucket struct {
	variant, weight *node // weight is nil when it is constant
	fixed           int64
}

func (b *buckets) size() int32 {
	var n int32
	if b.by != nil {
		n += b.by.size
	}
	for _, k := range b.list {
		n += 1 + k.variant.size
		if k.weight != nil {
			n += k.weight.size
		}
	}
	for _, d := range b.dynamic {
		n += d.size
	}
	return n
}

// wholeWeight is a weight as fractional takes it: whole, at most maxWeight,
// negative ones counting as 0.
func wholeWeight(f float64) (int64, bool) {
	if f != math.Trunc(f) || f > maxWeight { // also NaN
		return 0, false
	}
	return int64(max(f, 0)), true
}

// fractional prepares what does not depend on the context. Buckets that are
// written out are kept apart; anything else is sorted out at evaluation.
func (c *compiler) fractional(n *node, items []jsonNode) {
	b := &buckets{}
	n.more = &nodeMore{buckets: b}
	written := items
	if len(items) > 0 && items[0].kind != jsonArray {
		written = items[1:]
	}
	for i := range written {
		if written[i].kind != jsonArray || len(written[i].items) < 1 || len(written[i].items) > 2 {
			b.dynamic = c.all(items)
			return
		}
	}
	skipped := len(items) - len(written)
	if skipped > 0 {
		c.pushIndex(0)
		b.by = c.node(&items[0])
		c.pop()
	}
	for i := range written {
		c.pushIndex(i + skipped)
		b.list = append(b.list, c.bucket(written[i].items))
		c.pop()
	}
	b.addUp()
}

func (c *compiler) bucket(items []jsonNode) bucket {
	args := c.all(items)
	k := bucket{variant: args[0], fixed: 1}
	if len(args) == 1 {
		return k
	}
	if args[1].op == opConst {
		if w, ok := bucketWeight(args[1].val); ok {
			k.fixed = w
			return k
		}
	}
	k.weight = args[1]
	return k
}

// bucketWeight is a value as a weight; null counts as 1.
func bucketWeight(v value) (int64, bool) {
	switch v.kind {
	case kindNull:
		return 1, true
	case kindNumber:
		return wholeWeight(v.num)
	default:
		return 0, false
	}
}

func (b *buckets) addUp() {
	b.plain = true
	for _, k := range b.list {
		b.plain = b.plain && k.weight == nil && k.variant.op == opConst && k.variant.val.kind <= kindString
		if k.weight != nil {
			b.total = -1
		} else if b.total >= 0 {
			b.total += k.fixed
		}
	}
}

// fractional yields the variant of the bucket that the bucketing value falls
// into; null when anything is malformed, or no key is there to bucket by.
func (e *evaluation) fractional(n *node) value {
	b := n.more.buckets
	if b.dynamic != nil {
		return e.fractionalDynamic(b)
	}
	var by value
	if b.by != nil {
		if by = e.eval(b.by); by.kind == kindList {
			return e.fractionalDynamic(&buckets{dynamic: append([]*node{constNode(by)}, b.nodes()...)})
		}
	}
	hash, ok := e.bucketHash(by, b.by != nil)
	switch {
	case !ok:
		return value{}
	case b.total < 0:
		return e.fractionalWeighed(b, hash)
	default:
		return e.choose(hash, b.total, b.list)
	}
}

// bucketNode is fractional of plain buckets; it hands out the constant of the
// variant, nil for null.
func (e *evaluation) bucketNode(b *buckets, by value) *node {
	hash, ok := e.bucketHash(by, b.by != nil)
	if !ok {
		return nil
	}
	i := pickBucket(e.set.view.bucketing, hash, b.total, b.list)
	if i < 0 {
		return nil
	}
	return b.list[i].variant
}

// choose evaluates the variant of the bucket that a hash falls into.
func (e *evaluation) choose(hash uint32, total int64, list []bucket) value {
	generation := e.set.view.bucketing
	i := pickBucket(generation, hash, total, list)
	if e.trace != nil {
		e.note("hash %d falls into bucket %d of %d in generation %s, weights add up to %d", hash, i+1, len(list), generation, total)
	}
	if i < 0 {
		return value{}
	}
	if v := e.eval(list[i].variant); v.kind <= kindString {
		return v
	}
	return value{} // a list or object names no variant
}

// nodes are the buckets as expressions that yield lists.
func (b *buckets) nodes() []*node {
	list := make([]*node, len(b.list))
	for i, k := range b.list {
		weight := k.weight
		if weight == nil {
			weight = constNode(numberValue(float64(k.fixed)))
		}
		list[i] = &node{op: opList, args: []*node{k.variant, weight}}
	}
	return list
}

// fractionalWeighed evaluates the weights first.
func (e *evaluation) fractionalWeighed(b *buckets, hash uint32) value {
	weighed := make([]bucket, len(b.list))
	var total int64
	for i, k := range b.list {
		weighed[i] = k
		if k.weight != nil {
			w, ok := bucketWeight(e.eval(k.weight))
			if !ok {
				return value{}
			}
			weighed[i].fixed = w
		}
		total += weighed[i].fixed
	}
	return e.choose(hash, total, weighed)
}

// fractionalDynamic is the general case: all arguments are evaluated, and what
// they yield decides what they are.
func (e *evaluation) fractionalDynamic(b *buckets) value {
	args := e.evalAll(b.dynamic)
	var by value
	given := args[0].kind != kindList
	if given {
		by, args = args[0], args[1:]
	}
	hash, ok := e.bucketHash(by, given)
	if !ok {
		return value{}
	}
	list := make([]bucket, len(args))
	var total int64
	for i, a := range args {
		if a.kind != kindList || a.length() < 1 || a.length() > 2 {
			return value{}
		}
		list[i] = bucket{variant: constNode(a.at(0)), fixed: 1}
		if a.length() == 2 {
			if list[i].fixed, ok = bucketWeight(a.at(1)); !ok {
				return value{}
			}
		}
		total += list[i].fixed
	}
	return e.choose(hash, total, list)
}

// keyBuffer is how long a key can be to be hashed without allocating.
const keyBuffer = 128

// bucketHash hashes the bucketing value in the set's generation.
func (e *evaluation) bucketHash(by value, given bool) (uint32, bool) {
	var space [keyBuffer]byte
	b := space[:0]
	switch {
	case given && by.kind == kindString:
		e.charge(len(by.str()) / bytesPerStep)
		if e.set.view.bucketing == V3 {
			return murmur3.Sum32(appendCBORString(b, by.str())), true
		}
		return murmur3.StringSum32(by.str()), true
	case !given || (by.kind == kindNull && e.set.view.bucketing != V3):
		key, ok := e.ctx[targetingKey].(string)
		if !ok || key == "" {
			return 0, false
		}
		e.charge(len(key) / bytesPerStep)
		if e.set.view.bucketing == V3 {
			b = appendCBORString(appendCBORString(append(b, cborArray|2), e.flag.key), key)
		} else {
			b = append(append(b, e.flag.key...), key...)
		}
		return murmur3.Sum32(b), true
	case e.set.view.bucketing == V3 && by.kind != kindNull:
		return e.hashCBOR(by)
	default:
		return 0, false
	}
}

// hashCBOR hashes the encoding of any value.
func (e *evaluation) hashCBOR(v value) (uint32, bool) {
	b, ok := e.appendCBOR(nil, v, 0)
	return murmur3.Sum32(b), ok
}

// pickBucket is the index of the bucket that a hash falls into, -1 for none.
func pickBucket(generation Bucketing, hash uint32, total int64, list []bucket) int {
	if total <= 0 || total > maxWeight {
		return -1
	}
	if generation == V1 {
		return pickLegacy(hash, total, list)
	}
	place := int64(uint64(hash) * uint64(total) >> 32)
	var sum int64
	for i := range list {
		if sum += list[i].fixed; place < sum {
			return i
		}
	}
	return -1
}

// inFirst tells whether a hash falls into the first bucket, of weight first out
// of total: what pickBucket finds with less work.
func inFirst(generation Bucketing, hash uint32, first, total int64) bool {
	if generation == V1 {
		return legacyPlace(hash) < 100*float64(first)/float64(total)
	}
	return int64(uint64(hash)*uint64(total)>>32) < first
}

// legacyPlace is where a hash falls between 0 and 100 in the first generation.
func legacyPlace(hash uint32) float64 {
	return math.Abs(float64(int32(hash))) / math.MaxInt32 * 100
}

// pickLegacy is the first generation's rule, in floating point as it was.
func pickLegacy(hash uint32, total int64, list []bucket) int {
	place := legacyPlace(hash)
	var end float64
	for i := range list {
		if end += 100 * float64(list[i].fixed) / float64(total); place < end {
			return i
		}
	}
	return -1
}
