// Package degrade holds the pure numbers of degradation: tiers, the level, the
// holds that bound it, and the share of each tier that is shed.
//
// Nothing here reads a clock, a network or a store; every function is a pure
// function of its arguments, so that every process that is told the same state
// sheds the same.
package degrade
