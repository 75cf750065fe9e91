// The page: evaluates in the browser, and follows the server's event stream.
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';

const server = new URLSearchParams(location.search).get('server');
const client = OpenFeature.getClient();

const evaluate = {
  bool: (...args) => client.getBooleanDetails(...args),
  string: (...args) => client.getStringDetails(...args),
  int: (...args) => client.getNumberDetails(...args),
  float: (...args) => client.getNumberDetails(...args),
  object: (...args) => client.getObjectDetails(...args),
};

let changes = 0;
let changed = () => {};
client.addHandler(ProviderEvents.ConfigurationChanged, () => {
  changes++;
  changed();
});

let context = '{}';

// In a browser the context belongs to the page and not to the evaluation: the
// provider fetches all flags anew when it changes.
window.answer = async (line) => {
  if (line.wait) {
    while (changes === 0) await new Promise((resolve) => (changed = resolve));
    changes = 0;
    return { event: 'change' };
  }
  const wanted = JSON.stringify(line.context ?? {});
  if (wanted !== context) await OpenFeature.setContext(line.context ?? {});
  context = wanted;
  const { value, variant, reason, errorCode } = evaluate[line.type](line.flag, line.default);
  return { flag: line.flag, value, variant, reason, errorCode };
};

await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl: `http://${server}`, cacheMode: 'disabled' }));
const look = () => (document.body.textContent = client.getStringValue('welcome-banner', 'none'));
look();
client.addHandler(ProviderEvents.ConfigurationChanged, look);
window.started = true;
