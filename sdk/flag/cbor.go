package flag

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
)

// This file encodes values as CBOR, core deterministic (RFC 8949, section
// 4.2.1): what generation v3 of fractional hashes.

// CBOR's major types (section 3.1), as they stand in a first byte.
const (
	cborUnsigned = 0 << 5
	cborNegative = 1 << 5
	cborText     = 3 << 5
	cborArray    = 4 << 5
	cborMap      = 5 << 5
	cborFalse    = 7<<5 | 20
	cborTrue     = 7<<5 | 21
	cborNull     = 7<<5 | 22
	cborHalf     = 7<<5 | 25
	cborSingle   = 7<<5 | 26
	cborDouble   = 7<<5 | 27
)

// maxCBOR is how deep lists and objects are encoded; a context can hold one that
// contains itself.
const maxCBOR = 64

// appendCBORHead appends a head in its shortest form.
func appendCBORHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, major|27), n)
	}
}

func appendCBORString(b []byte, s string) []byte {
	return append(appendCBORHead(b, cborText, uint64(len(s))), s...)
}

// appendCBOR appends any value; ok is false when it is nested too deep or the
// steps are used up.
func (e *evaluation) appendCBOR(b []byte, v value, depth int) (_ []byte, ok bool) {
	if depth > maxCBOR || !e.charge(1) {
		return b, false
	}
	switch v.kind {
	case kindNull:
		return append(b, cborNull), true
	case kindBool:
		if v.num != 0 {
			return append(b, cborTrue), true
		}
		return append(b, cborFalse), true
	case kindNumber:
		return appendCBORNumber(b, v), true
	case kindString:
		s := v.str()
		return appendCBORString(b, s), e.charge(len(s) / bytesPerStep)
	case kindList:
		n := v.length()
		b = appendCBORHead(b, cborArray, uint64(n))
		ok = true
		for i := 0; i < n && ok; i++ {
			b, ok = e.appendCBOR(b, v.at(i), depth+1)
		}
		return b, ok
	default:
		return e.appendCBORMap(b, v, depth)
	}
}

func (e *evaluation) appendCBORMap(b []byte, v value, depth int) (_ []byte, ok bool) {
	members := e.members(v)
	type pair struct{ name, value []byte }
	pairs := make([]pair, len(members))
	for i, m := range members {
		pairs[i].name = appendCBORString(nil, m.name)
		if pairs[i].value, ok = e.appendCBOR(nil, m.value, depth+1); !ok {
			return b, false
		}
	}
	slices.SortFunc(pairs, func(x, y pair) int { return bytes.Compare(x.name, y.name) })
	b = appendCBORHead(b, cborMap, uint64(len(pairs)))
	for _, p := range pairs {
		b = append(append(b, p.name...), p.value...)
	}
	return b, e.charge(len(b) / bytesPerStep)
}

// appendCBORNumber encodes whole numbers that fit as integers, everything else
// as the shortest float that holds it.
func appendCBORNumber(b []byte, v value) []byte {
	switch exact := v.data.(type) {
	case int64:
		return appendCBORInt(b, exact)
	case uint64:
		return appendCBORHead(b, cborUnsigned, exact)
	}
	f := v.num
	switch {
	case f != math.Trunc(f) || f < -1<<63 || f >= 1<<64:
		return appendCBORFloat(b, f)
	case f >= 0:
		return appendCBORHead(b, cborUnsigned, uint64(f))
	default:
		return appendCBORInt(b, int64(f))
	}
}

func appendCBORInt(b []byte, i int64) []byte {
	if i < 0 {
		return appendCBORHead(b, cborNegative, uint64(-1-i))
	}
	return appendCBORHead(b, cborUnsigned, uint64(i))
}

func appendCBORFloat(b []byte, f float64) []byte {
	if f != f {
		return append(b, cborHalf, 0x7e, 0x00)
	}
	single := float32(f)
	if float64(single) != f {
		return binary.BigEndian.AppendUint64(append(b, cborDouble), math.Float64bits(f))
	}
	if half, ok := halfFloat(single); ok {
		return binary.BigEndian.AppendUint16(append(b, cborHalf), half)
	}
	return binary.BigEndian.AppendUint32(append(b, cborSingle), math.Float32bits(single))
}

// halfFloat is f as IEEE 754 binary16, if that holds it exactly. f is not NaN.
func halfFloat(f float32) (uint16, bool) {
	const mantissa, half = 23, 10 // bits of the mantissas
	bits := math.Float32bits(f)
	sign := uint16(bits>>16) & 0x8000
	exponent := int(bits>>mantissa&0xff) - 127
	fraction := bits & (1<<mantissa - 1)
	drop := mantissa - half
	switch {
	case exponent == 128:
		return sign | 0x7c00, true
	case exponent > 15 || exponent < -24:
		return 0, f == 0
	case exponent >= -14:
		if fraction&(1<<drop-1) != 0 {
			return 0, false
		}
		return sign | uint16(exponent+15)<<half | uint16(fraction>>drop), true
	}
	fraction |= 1 << mantissa // a subnormal half has no hidden bit
	drop += -14 - exponent
	if fraction&(1<<drop-1) != 0 {
		return 0, false
	}
	return sign | uint16(fraction>>drop), true
}
