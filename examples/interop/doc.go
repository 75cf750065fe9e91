// Package interop drives the examples of the other languages against one real
// server, and compares their answers with those of the native Go provider. Run
// it by `make interop`, which installs what they need and writes
// docs/interop.md.
//
// # What an example does with --json
//
// It reads a JSON object a line from standard input, and writes one a line to
// standard output, in that order, until standard input ends:
//
//	{"flag": "sale", "type": "bool", "default": false, "context": {"targetingKey": "u1"}}
//	{"flag": "sale", "value": true, "variant": "on", "reason": "STATIC", "errorCode": null}
//
// The type is bool, string, int, float or object. {"wait": "change"} is
// answered once the provider has told of a change of its configuration since
// the last such line, with {"event": "change"}; where the provider has no
// events, at once, with {"event": "none"}.
//
// PLIMSOLL_SERVER is the server's host:port, PLIMSOLL_MODE one of rpc,
// in-process and ofrep. FLAGD_SOURCE_SELECTOR, which flagd's providers read by
// themselves, names the namespace that a provider in process follows.
//
// # What is compared
//
// The set is served in each bucketing generation, in a namespace of its own. A
// provider that evaluates in process in another generation than ours is asked
// about both, and has to agree with the native one where the generations do.
package interop
