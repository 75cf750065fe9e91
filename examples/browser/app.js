// Serves a page that evaluates flags with OpenFeature's web SDK over OFREP:
//
//	npm ci
//	server --demo --ofrep-cors-origin http://127.0.0.1:8090
//	PLIMSOLL_SERVER=127.0.0.1:8013 node app.js
//
// and open the address it prints. With --json it opens the page itself, in
// Chromium, and has it answer lines of standard input, as examples/interop
// describes. PORT is where the page is served, CHROMIUM the browser.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';

const server = process.env.PLIMSOLL_SERVER ?? '127.0.0.1:8013';
const port = Number(process.env.PORT ?? 8090);

const bundle = await build({ entryPoints: [new URL('page.js', import.meta.url).pathname], bundle: true, format: 'esm', write: false, logLevel: 'error' });
const files = {
  '/': ['text/html', '<!doctype html><title>Plimsoll</title><link rel="icon" href="data:,"><body></body><script type="module" src="/page.js"></script>'],
  '/page.js': ['text/javascript', bundle.outputFiles[0].text],
};
const pages = createServer((request, response) => {
  const file = files[new URL(request.url, 'http://localhost').pathname];
  if (!file) return response.writeHead(404).end();
  response.writeHead(200, { 'Content-Type': file[0] }).end(file[1]);
});
await new Promise((resolve) => pages.listen(port, '127.0.0.1', resolve));
const address = `http://127.0.0.1:${port}/?server=${server}`;

if (process.argv.includes('--json')) {
  const { chromium } = await import('playwright-core');
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-background-networking'],
  });
  const page = await browser.newPage();
  page.on('console', (message) => console.error(message.text()));
  page.on('pageerror', (error) => console.error(error));
  await page.goto(address);
  await page.waitForFunction('window.started');
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await page.evaluate((question) => window.answer(question), JSON.parse(line))));
  }
  await browser.close();
  process.exit(0);
}
console.log(address);
