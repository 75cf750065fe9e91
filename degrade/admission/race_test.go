//go:build race

package admission

const RaceEnabled = true
