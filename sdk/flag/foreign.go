package flag

import (
	"encoding/json"
	"reflect"
	"time"
)

// This file is the one place that uses reflection: for values of the evaluation
// context that are of none of the types contextValue knows. Named types count as
// what they are made of, pointers as what they point to; slices and arrays are
// lists, maps with string keys are objects. Anything else, structs included, is
// null.

// foreignList and foreignMap are read in place, element by element.
type foreignList struct{ reflect.Value }

type foreignMap struct{ reflect.Value }

// The types that count as more than what they are made of.
var (
	typeOfTime   = reflect.TypeFor[time.Time]()
	typeOfNumber = reflect.TypeFor[json.Number]()
)

// maxForeign is how many pointers and interfaces are followed.
const maxForeign = 8

func foreignValue(v reflect.Value) value {
	for range maxForeign {
		if v.Kind() != reflect.Pointer && v.Kind() != reflect.Interface {
			break
		}
		v = v.Elem() // of nil: invalid, which is null below
	}
	if v.IsValid() && v.CanInterface() && (v.Type() == typeOfTime || v.Type() == typeOfNumber) {
		return contextValue(v.Interface())
	}
	switch v.Kind() {
	case reflect.Bool:
		return boolValue(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return intValue(v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return uintValue(v.Uint())
	case reflect.Float32, reflect.Float64:
		return numberValue(v.Float())
	case reflect.String:
		return stringValue(v.String())
	case reflect.Slice, reflect.Array:
		return value{kind: kindList, data: foreignList{v}}
	case reflect.Map:
		if v.Type().Key().Kind() == reflect.String {
			return value{kind: kindObject, data: foreignMap{v}}
		}
	}
	return value{}
}

func (l foreignList) at(i int) value { return element(l.Index(i)) }

func (m foreignMap) get(name string) value {
	v := m.MapIndex(reflect.ValueOf(name).Convert(m.Type().Key()))
	if !v.IsValid() {
		return value{}
	}
	return element(v)
}

func (m foreignMap) members() []member {
	list := make([]member, 0, m.Len())
	for key, v := range m.Seq2() {
		list = append(list, member{key.String(), element(v)})
	}
	return list
}

// element takes the fast way where the element is of a type that has one.
func element(v reflect.Value) value {
	if v.CanInterface() {
		return contextValue(v.Interface())
	}
	return foreignValue(v)
}
