// Reads one JSON request a line, writes one JSON answer a line.
//   {"rule": RULE, "data": DATA, "agreed": BOOL} JSONLogic's reference
//   {"core": RULE, "key": KEY, "data": CONTEXT} flagd's JavaScript evaluator, a rule
//   {"flag": FLAG, "key": KEY, "data": CONTEXT} flagd's JavaScript evaluator, a flag
// Values are written so that nothing is lost: numbers as {"n": TEXT}, strings as
// {"s": STRING}, objects as {"o": MEMBERS}.
import { createInterface } from 'node:readline';
import { FlagdCore } from '@openfeature/flagd-core';
import jsonLogic from 'json-logic-js';

let quirks = new Set();
// agreed: where all of flagd's implementations differ from the reference in the
// same way, do as they do.
let agreed = false;
const thing = (v) => typeof v === 'object' && v !== null;
const own = (v, name) => (Array.isArray(v) ? /^(0|[1-9]\d*)$/.test(name) : thing(v)) && Object.hasOwn(v, name);

// The reference's operations, telling apart what JSON data does not have:
// identity of lists and objects, and properties that JavaScript adds.
for (const [name, equal] of [['==', (a, b) => a == b], ['!=', (a, b) => a != b],
  ['===', (a, b) => a === b], ['!==', (a, b) => a !== b]]) {
  jsonLogic.add_operation(name, (a, b) => {
    if (thing(a) && thing(b)) quirks.add('identity');
    return equal(a, b);
  });
}
jsonLogic.add_operation('in', (a, b) => {
  if (Array.isArray(b) && thing(a)) quirks.add('identity');
  if (!b || typeof b.indexOf === 'undefined') return false;
  return b.indexOf(a) !== -1;
});
jsonLogic.add_operation('var', function (path, fallback) {
  const notFound = fallback === undefined ? null : fallback;
  if (path === undefined || path === '' || path === null) return this;
  let data = this;
  for (const name of String(path).split('.')) {
    if (data === null || data === undefined) return notFound;
    if (data[name] !== undefined && !own(data, name)) quirks.add('property');
    data = data[name];
    if (data === undefined) return notFound;
  }
  return agreed && data === null ? notFound : data;
});
jsonLogic.add_operation('missing', function (...args) {
  const keys = Array.isArray(args[0]) ? args[0] : args;
  return keys.filter((key) => {
    const value = jsonLogic.apply({ var: key }, this);
    return value === null || (value === '' && !agreed);
  });
});
jsonLogic.add_operation('log', (a) => a);
const float = (v) => (agreed && typeof v === 'string' && v.trim() === '' ? 0 : parseFloat(v));
jsonLogic.add_operation('+', (...args) => args.reduce((a, b) => float(a) + float(b), 0));
jsonLogic.add_operation('*', (...args) => {
  if (!agreed) return args.reduce((a, b) => float(a) * float(b));
  return args.reduce((a, b) => float(a) * float(b), 1);
});
const truthy = jsonLogic.truthy;
jsonLogic.truthy = (v) => !(agreed && thing(v) && !Array.isArray(v) && Object.keys(v).length === 0) && truthy(v);

const silent = { error() {}, warn() {}, info() {}, debug() {} };

function write(v) {
  switch (typeof v) {
    case 'number': return { n: String(v) };
    case 'string': return { s: v };
    case 'boolean': return v;
    case 'object':
      if (v === null) return null;
      if (Array.isArray(v)) return v.map(write);
      return { o: Object.fromEntries(Object.entries(v).map(([k, x]) => [k, write(x)])) };
    default: return null;
  }
}

function answer(request) {
  if ('rule' in request) {
    quirks = new Set();
    agreed = request.agreed === true;
    try {
      const value = write(jsonLogic.apply(request.rule, request.data));
      return { value, quirks: [...quirks] };
    } catch (e) {
      return { error: String(e), quirks: [...quirks] };
    }
  }
  if ('core' in request) {
    try {
      const core = new FlagdCore(undefined, silent);
      const flag = { state: 'ENABLED', variants: { on: 'on' }, targeting: request.core };
      core.setConfigurations(JSON.stringify({ flags: { [request.key]: flag } }));
      return { value: write(core.getFlag(request.key)._targeting.evaluate(request.key, request.data, silent)) };
    } catch (e) {
      return { error: 'fails' };
    }
  }
  const core = new FlagdCore(undefined, silent);
  try {
    core.setConfigurations(JSON.stringify({ flags: { [request.key]: request.flag } }));
  } catch (e) {
    return { error: String(e) };
  }
  const r = core.getFlag(request.key).evaluate(request.data, silent);
  return { variant: r.variant ?? '', reason: r.reason, errorCode: r.errorCode ?? '' };
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(answer(JSON.parse(line))) + '\n');
}
