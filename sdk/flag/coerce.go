package flag

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// This file holds JavaScript's conversions, by which JSONLogic is defined
// (ECMA-262, section 7.1).

// maxJoin is how deep lists inside lists are turned into text; a context can
// hold a list that contains itself.
const maxJoin = 32

// number is ToNumber.
func (e *evaluation) number(v value) float64 {
	switch v.kind {
	case kindNull:
		return 0
	case kindBool, kindNumber:
		return v.num
	case kindString:
		if !e.charge(len(v.str()) / bytesPerStep) {
			return math.NaN()
		}
		return parseNumber(v.str())
	default:
		text := e.text(v)
		if !e.charge(len(text) / bytesPerStep) {
			return math.NaN()
		}
		return parseNumber(text)
	}
}

// text is ToString.
func (e *evaluation) text(v value) string {
	if v.kind == kindString {
		return v.str()
	}
	return string(e.appendText(nil, v, 0))
}

func (e *evaluation) appendText(b []byte, v value, depth int) []byte {
	switch v.kind {
	case kindNull:
		return append(b, "null"...)
	case kindBool:
		return strconv.AppendBool(b, v.num != 0)
	case kindNumber:
		return appendNumber(b, v.num)
	case kindString:
		if !e.charge(len(v.str()) / bytesPerStep) {
			return b
		}
		return append(b, v.str()...)
	case kindList:
		return e.appendJoined(b, v, depth)
	default:
		return append(b, "[object Object]"...)
	}
}

// appendJoined is Array.prototype.join with a comma: null elements are empty.
func (e *evaluation) appendJoined(b []byte, v value, depth int) []byte {
	if depth == maxJoin {
		return b
	}
	n := v.length()
	for i := 0; i < n && e.charge(1); i++ {
		if i > 0 {
			b = append(b, ',')
		}
		if item := v.at(i); item.kind != kindNull {
			b = e.appendText(b, item, depth+1)
		}
	}
	return b
}

// appendNumber is Number::toString.
func appendNumber(b []byte, f float64) []byte {
	switch {
	case f != f:
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	case f == 0:
		return append(b, '0')
	case math.Abs(f) >= 1e21 || math.Abs(f) < 1e-6:
		at := len(b)
		b = strconv.AppendFloat(b, f, 'e', -1, 64)
		// Go writes at least two digits of exponent, JavaScript does not.
		if n := len(b); b[n-2] == '0' && (b[n-3] == '-' || b[n-3] == '+') && n-3 > at {
			b[n-2] = b[n-1]
			b = b[:n-1]
		}
		return b
	default:
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
}

// isSpace tells whether a character is one of JavaScript's white space and line
// ends.
func isSpace(r rune) bool {
	switch {
	case r < utf8.RuneSelf:
		return r == ' ' || (r >= '\t' && r <= '\r')
	case r >= 0x2000 && r <= 0x200a:
		return true
	}
	switch r {
	case 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff:
		return true
	}
	return false
}

func trimLeftSpace(s string) string {
	for s != "" {
		r, n := rune(s[0]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s)
		}
		if !isSpace(r) {
			break
		}
		s = s[n:]
	}
	return s
}

func trimRightSpace(s string) string {
	for s != "" {
		r, n := rune(s[len(s)-1]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeLastRuneInString(s)
		}
		if !isSpace(r) {
			break
		}
		s = s[:len(s)-n]
	}
	return s
}

// parseNumber is StringToNumber.
func parseNumber(s string) float64 {
	s = trimRightSpace(trimLeftSpace(s))
	if s == "" {
		return 0
	}
	if len(s) > 2 && s[0] == '0' {
		if base := numberBase(s[1]); base > 0 {
			return parseDigits(s[2:], base)
		}
	}
	if n := numberPrefix(s); n != len(s) {
		return math.NaN()
	}
	return parsePrefix(s)
}

func numberBase(c byte) int {
	switch c | 0x20 {
	case 'x':
		return 16
	case 'o':
		return 8
	case 'b':
		return 2
	default:
		return 0
	}
}

func parseDigits(s string, base int) float64 {
	var f float64
	for i := range len(s) {
		d := strings.IndexByte("0123456789abcdef", lower(s[i]))
		if d < 0 || d >= base {
			return math.NaN()
		}
		f = f*float64(base) + float64(d)
	}
	return f
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// parseFloat is JavaScript's parseFloat: the longest start that is a number.
func parseFloat(s string) float64 {
	s = trimLeftSpace(s)
	n := numberPrefix(s)
	if n == 0 {
		return math.NaN()
	}
	return parsePrefix(s[:n])
}

func parsePrefix(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return math.NaN()
	}
	return f
}

// numberPrefix is the length of the longest start of s that is a decimal number
// or Infinity.
func numberPrefix(s string) int {
	i := 0
	if i < len(s) && (s[i] == '+' || s[i] == '-') {
		i++
	}
	if strings.HasPrefix(s[i:], "Infinity") {
		return i + len("Infinity")
	}
	whole := digitRun(s[i:])
	i += whole
	frac := 0
	if i < len(s) && s[i] == '.' {
		if frac = digitRun(s[i+1:]); whole+frac > 0 {
			i += 1 + frac
		}
	}
	if whole+frac == 0 {
		return 0
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		j := i + 1
		if j < len(s) && (s[j] == '+' || s[j] == '-') {
			j++
		}
		if exp := digitRun(s[j:]); exp > 0 {
			i = j + exp
		}
	}
	return i
}

func digitRun(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// looseEqual is ==. Two lists or objects are never equal: JavaScript compares
// their identity, which data does not have.
func (e *evaluation) looseEqual(a, b value) bool {
	if a.kind == b.kind {
		return e.strictEqual(a, b)
	}
	switch {
	case a.kind == kindNull || b.kind == kindNull:
		return false
	case a.kind <= kindString && b.kind <= kindString:
		return e.number(a) == e.number(b)
	case a.kind > kindString && b.kind > kindString:
		return false
	case a.kind > kindString:
		return e.looseEqual(stringValue(e.text(a)), b)
	default:
		return e.looseEqual(a, stringValue(e.text(b)))
	}
}

// strictEqual is ===.
func (e *evaluation) strictEqual(a, b value) bool {
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case kindNull:
		return true
	case kindBool, kindNumber:
		return a.num == b.num
	case kindString:
		return e.charge(len(a.str())/bytesPerStep) && a.str() == b.str()
	default:
		return false
	}
}

// less is <, and with orEqual <=. NaN is neither.
func (e *evaluation) less(a, b value, orEqual bool) bool {
	if a.kind > kindString {
		a = stringValue(e.text(a))
	}
	if b.kind > kindString {
		b = stringValue(e.text(b))
	}
	if a.kind == kindString && b.kind == kindString {
		if !e.charge(min(len(a.str()), len(b.str())) / bytesPerStep) {
			return false
		}
		c := compareText(a.str(), b.str())
		return c < 0 || (orEqual && c == 0)
	}
	x, y := e.number(a), e.number(b)
	return x < y || (orEqual && x == y)
}

// compareText orders by UTF-16 code units, as JavaScript does: unlike in UTF-8,
// characters above U+FFFF come before those from U+E000 on.
func compareText(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	for i > 0 && i < len(a) && i < len(b) && (!utf8.RuneStart(a[i]) || !utf8.RuneStart(b[i])) {
		i--
	}
	if i == len(a) || i == len(b) {
		return len(a) - len(b)
	}
	r, _ := utf8.DecodeRuneInString(a[i:])
	s, _ := utf8.DecodeRuneInString(b[i:])
	if u, v := firstUnit(r), firstUnit(s); u != v {
		return int(u - v)
	}
	return int(r - s)
}

func firstUnit(r rune) rune {
	if high, _ := utf16.EncodeRune(r); high != utf8.RuneError {
		return high
	}
	return r
}

// substr is String.prototype.substr, which counts UTF-16 code units, with
// JSONLogic's negative length that cuts off at the end. Half a character becomes
// U+FFFD.
func substr(s string, start, length float64, bounded bool) string {
	ascii := isASCII(s)
	var units []uint16
	n := len(s)
	if !ascii {
		units = utf16.Encode([]rune(s))
		n = len(units)
	}
	start = math.Trunc(start)
	if start < 0 {
		start += float64(n)
	}
	from, to := clampIndex(start, n), n
	if bounded {
		if length < 0 {
			length += float64(n - from)
		}
		to = from + clampIndex(length, n-from)
	}
	if ascii {
		return s[from:to]
	}
	return string(utf16.Decode(units[from:to]))
}

// clampIndex is f as a whole number from 0 to n; NaN is 0.
func clampIndex(f float64, n int) int {
	switch {
	case f >= float64(n):
		return n
	case f >= 1:
		return int(f)
	default:
		return 0
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
