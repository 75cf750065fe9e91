package flag

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// A table behaves like a map, old versions stay as they were, and diff finds
// what changed and nothing else.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var versions []table[int]
		var models []map[string]int
		current, model := table[int]{}, map[string]int{}
		for v := range rapid.IntRange(1, 6).Draw(t, "versions") {
			e := current.edit()
			for range rapid.IntRange(0, 200).Draw(t, "changes") {
				key := fmt.Sprint("k", rapid.IntRange(0, 300).Draw(t, "key"))
				if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
					e.delete(key)
					delete(model, key)
				} else {
					e.set(key, v)
					model[key] = v
				}
			}
			current = e.done()
			versions, models = append(versions, current), append(models, maps.Clone(model))
		}
		for i, version := range versions {
			sameAsMap(t, version, models[i])
			diffsFrom(t, version, models[i], versions[0], models[0])
		}
	})
}

func sameAsMap(t *rapid.T, version table[int], model map[string]int) {
	if got := maps.Collect(version.all()); !maps.Equal(got, model) || version.n != len(model) {
		t.Fatalf("holds %v, counts %d; want %v", got, version.n, model)
	}
	for i := range 301 {
		key := fmt.Sprint("k", i)
		got, ok := version.get(key)
		if want, there := model[key]; ok != there || got != want {
			t.Fatalf("get(%s) = %d, %v; want %d, %v", key, got, ok, want, there)
		}
	}
}

func diffsFrom(t *rapid.T, version table[int], model map[string]int, old table[int], oldModel map[string]int) {
	told := map[string]bool{}
	version.diff(old, func(key string, before, after *int) {
		if told[key] {
			t.Fatalf("%s is told twice", key)
		}
		told[key] = true
		was, there := oldModel[key]
		is, now := model[key]
		if (before != nil) != there || (after != nil) != now || (there && *before != was) || (now && *after != is) {
			t.Fatalf("%s: told %v to %v", key, before, after)
		}
	})
	for key := range oldModel {
		if value, ok := model[key]; (!ok || value != oldModel[key]) && !told[key] {
			t.Fatalf("%s changed and is not told", key)
		}
	}
	for key := range model {
		if _, ok := oldModel[key]; !ok && !told[key] {
			t.Fatalf("%s is new and is not told", key)
		}
	}
}

// Keys whose hashes are the same end up in a list below the last bit.
func TestTableCollisions(t *testing.T) {
	e := table[int]{}.edit()
	n := e.put(nil, 42, 64, tableLeaf[int]{"0", 0})
	for i := 1; i < 5; i++ {
		n = e.put(n, 42, 64, tableLeaf[int]{fmt.Sprint(i), i})
	}
	n = e.put(n, 42, 64, tableLeaf[int]{"0", 0})
	if e.n != 5 {
		t.Errorf("counts %d of 5", e.n)
	}
	for i := range 5 {
		if v, ok := n.search(fmt.Sprint(i)); !ok || v != i {
			t.Errorf("search(%d) = %d, %v", i, v, ok)
		}
	}
	if _, ok := n.search("5"); ok {
		t.Error("found a key that is not there")
	}
	for i := range 4 {
		n = e.remove(n, 42, 64, fmt.Sprint(i))
	}
	if _, ok := n.search("3"); ok || len(n.leaf) != 1 {
		t.Errorf("removed keys are still there: %v", n.leaf)
	}
	if e.remove(n, 42, 64, "4") != nil {
		t.Error("an empty node is left")
	}
}

// A change in a large table shares all but a few nodes with the one before.
func TestTableShares(t *testing.T) {
	e := table[int]{}.edit()
	for i := range 100_000 {
		e.set(fmt.Sprint(i), i)
	}
	before := e.done()
	e = before.edit()
	e.set("4711", -1)
	after := e.done()
	told := 0
	after.diff(before, func(string, *int, *int) { told++ })
	if told > 64 { // the leaves of one node
		t.Errorf("a change of one key of 100 000 tells of %d", told)
	}
	if v, _ := before.get("4711"); v != 4711 {
		t.Errorf("the old version says %d", v)
	}
}
