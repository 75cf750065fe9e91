// A small app on Node with OpenFeature's own SDK and providers. It prints what
// the flag welcome-banner serves, again whenever flags change:
//
//	npm ci
//	PLIMSOLL_SERVER=127.0.0.1:8013 PLIMSOLL_MODE=in-process node app.js
//
// PLIMSOLL_MODE is rpc, in-process or ofrep. With --json it answers lines of
// standard input instead, as examples/interop describes.
import { createInterface } from 'node:readline';
import { FlagdProvider } from '@openfeature/flagd-provider';
import { OFREPProvider } from '@openfeature/ofrep-provider';
import { OpenFeature, ProviderEvents } from '@openfeature/server-sdk';

const server = process.env.PLIMSOLL_SERVER ?? '127.0.0.1:8013';
const mode = process.env.PLIMSOLL_MODE ?? 'rpc';

function newProvider() {
  if (mode === 'ofrep') return new OFREPProvider({ baseUrl: `http://${server}` });
  const [host, port] = server.split(':');
  return new FlagdProvider({ host, port: Number(port), tls: false, resolverType: mode, deadlineMs: 5000 });
}

await OpenFeature.setProviderAndWait(newProvider());
const client = OpenFeature.getClient();

const evaluate = {
  bool: (...args) => client.getBooleanDetails(...args),
  string: (...args) => client.getStringDetails(...args),
  int: (...args) => client.getNumberDetails(...args),
  float: (...args) => client.getNumberDetails(...args),
  object: (...args) => client.getObjectDetails(...args),
};

// Changes that nobody has waited for yet, and who waits.
let changes = 0;
let changed = () => {};
client.addHandler(ProviderEvents.ConfigurationChanged, () => {
  changes++;
  changed();
});

async function answer(line) {
  if (line.wait) {
    if (mode === 'ofrep') return { event: 'none' }; // a provider without events
    while (changes === 0) await new Promise((resolve) => (changed = resolve));
    changes = 0;
    return { event: 'change' };
  }
  const { value, variant, reason, errorCode } = await evaluate[line.type](line.flag, line.default, line.context);
  return { flag: line.flag, value, variant, reason, errorCode };
}

if (process.argv.includes('--json')) {
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await answer(JSON.parse(line))));
  }
  await OpenFeature.close();
  process.exit(0);
}

const look = async () => console.log(await client.getStringValue('welcome-banner', 'none', { targetingKey: 'visitor-1' }));
await look();
client.addHandler(ProviderEvents.ConfigurationChanged, look);
if (mode === 'ofrep') setInterval(look, 1000);
