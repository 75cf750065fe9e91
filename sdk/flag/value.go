package flag

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"time"
)

// kind is the kind of a value inside a rule.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindList   // data is one of the lists that length knows
	kindObject // data is map[string]any, flagdScope or foreignMap
	kindRoot   // the evaluation context itself, with $flagd beside it
	kindFold   // what the body of reduce sees; data is *foldScope
)

// value is a value inside a rule. Evaluating allocates nothing, because numbers
// and bools live in it, and text from a context stays in the interface that it
// came in. It has four words, as many as the compiler keeps in registers.
type value struct {
	data any     // of text, a string or *string; of a number only an integer that num cannot hold
	num  float64 // of a number; 1 for true
	kind kind
}

func boolValue(b bool) value {
	if b {
		return value{kind: kindBool, num: 1}
	}
	return value{kind: kindBool}
}

func numberValue(f float64) value  { return value{kind: kindNumber, num: f} }
func stringValue(s string) value   { return value{kind: kindString, data: s} }
func listValue(list []value) value { return value{kind: kindList, data: list} }

// str is the text of a kindString.
func (v value) str() string {
	switch s := v.data.(type) {
	case string:
		return s
	case *string:
		return *s
	default:
		return ""
	}
}

// foldScope is what the body of reduce sees.
type foldScope struct{ current, accumulator value }

// maxExact is up to where a double counts without gaps.
const maxExact = 1 << 53

// intValue keeps an integer that a double cannot hold beside its double, for the
// encodings that can tell the difference.
func intValue(i int64) value {
	v := numberValue(float64(i))
	if i > maxExact || i < -maxExact {
		v.data = i
	}
	return v
}

func uintValue(u uint64) value {
	v := numberValue(float64(u))
	if u > maxExact {
		v.data = u
	}
	return v
}

// contextValue is a value of the evaluation context inside a rule. Go's own
// types are told apart here without reflection; anything else goes the slow way
// of foreignValue.
func contextValue(data any) value {
	switch x := data.(type) {
	case nil:
		return value{}
	case string:
		return value{kind: kindString, data: data}
	case bool:
		return boolValue(x)
	case float64:
		return numberValue(x)
	case int:
		return intValue(int64(x))
	case int64:
		return intValue(x)
	case map[string]any:
		return value{kind: kindObject, data: data}
	case []any, []string:
		return value{kind: kindList, data: data}
	default:
		return rareValue(data)
	}
}

func rareValue(x any) value {
	switch x := x.(type) {
	case value:
		return x
	case int32:
		return numberValue(float64(x))
	case uint:
		return uintValue(uint64(x))
	case uint64:
		return uintValue(x)
	case uint32:
		return numberValue(float64(x))
	case float32:
		return numberValue(float64(x))
	case int8:
		return numberValue(float64(x))
	case int16:
		return numberValue(float64(x))
	case uint8:
		return numberValue(float64(x))
	case uint16:
		return numberValue(float64(x))
	case json.Number:
		return jsonNumberValue(x)
	case time.Time:
		return stringValue(x.Format(time.RFC3339Nano))
	case []value, []int, []int64, []float64, []bool, []map[string]any:
		return value{kind: kindList, data: x}
	default:
		return foreignValue(reflect.ValueOf(x))
	}
}

// jsonNumberValue is the number that the text stands for; text that is no number
// stays text.
func jsonNumberValue(x json.Number) value {
	if i, err := strconv.ParseInt(string(x), 10, 64); err == nil {
		return intValue(i)
	}
	f, err := strconv.ParseFloat(string(x), 64)
	if err != nil && !math.IsInf(f, 0) {
		return stringValue(string(x))
	}
	return numberValue(f)
}

// length is the number of elements of a list.
func (v value) length() int {
	switch list := v.data.(type) {
	case []value:
		return len(list)
	case []any:
		return len(list)
	case []string:
		return len(list)
	case []int:
		return len(list)
	case []int64:
		return len(list)
	case []float64:
		return len(list)
	case []bool:
		return len(list)
	case []map[string]any:
		return len(list)
	case foreignList:
		return list.Len()
	default:
		return 0
	}
}

// at is the element of a list; i must be within it.
func (v value) at(i int) value {
	switch list := v.data.(type) {
	case []value:
		return list[i]
	case []any:
		return contextValue(list[i])
	case []string:
		return value{kind: kindString, data: &list[i]}
	case []int:
		return intValue(int64(list[i]))
	case []int64:
		return intValue(list[i])
	case []float64:
		return numberValue(list[i])
	case []bool:
		return boolValue(list[i])
	case []map[string]any:
		return value{kind: kindObject, data: list[i]}
	case foreignList:
		return list.at(i)
	default:
		return value{}
	}
}

// truthy is flagd's notion of true: not null, false, 0, NaN, "", [] or {}.
func (v value) truthy() bool {
	switch v.kind {
	case kindNull:
		return false
	case kindBool:
		return v.num != 0
	case kindNumber:
		return v.num != 0 && v.num == v.num
	case kindString:
		return v.str() != ""
	case kindList:
		return v.length() > 0
	case kindObject:
		return !v.emptyObject()
	default:
		return true
	}
}

func (v value) emptyObject() bool {
	switch m := v.data.(type) {
	case map[string]any:
		return len(m) == 0
	case foreignMap:
		return m.Len() == 0
	default:
		return false
	}
}
