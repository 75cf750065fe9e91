// What the tests share: a real server, a browser that notices what a page does
// wrong, and the checks that every page has to pass.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { HtmlValidate } from "html-validate";
import { chromium } from "playwright-core";
import { launchOptions } from "./browser.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const binaries = process.env.PLIMSOLL_BINARIES ?? join(here, "../../.build");
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// How long something may take that only a broken console exceeds.
export const patience = 15_000;

export const phone = { width: 390, height: 844 };
export const desktop = { width: 1280, height: 900 };

// ---- The server.

// What was started must not outlive the tests, however they end.
const children = new Set();
process.on("exit", () => { for (const child of children) child.kill("SIGKILL"); });

function run(binary, args, options) {
  const child = spawn(join(binaries, binary), args, options);
  children.add(child);
  child.on("exit", () => children.delete(child));
  return child;
}

// startServer starts a server with a store of its own, and waits until it is
// ready. It ends with the tests of the file.
export async function startServer(...args) {
  const data = mkdtempSync(join(tmpdir(), "plimsoll-e2e-"));
  const server = { url: "", apps: [] };
  let child;
  async function start(listen) {
    child = run("server", ["--data-dir", data, "--listen", listen, "--log-level", "warn", ...args], { stdio: ["ignore", "pipe", "pipe"] });
    let errors = "";
    child.stderr.on("data", (b) => { errors = (errors + b).slice(-4000); });
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.startsWith("ready ")) {
        server.url = line.slice("ready ".length);
        child.stdout.resume();
        return;
      }
    }
    throw new Error(`the server ended before it was ready:\n${errors}`);
  }
  async function end(signal) {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
  }
  server.kill = () => end("SIGKILL");
  server.restart = () => start(new URL(server.url).host);
  server.stop = async () => {
    await (await browser)?.close();
    await Promise.all(server.apps.map(endProcess));
    await end("SIGTERM");
    rmSync(data, { recursive: true, force: true });
  };
  after(server.stop);
  await start("127.0.0.1:0");
  return server;
}

async function endProcess(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  await gone;
}

// startApp runs the example app against a server, and waits until it evaluates.
export async function startApp(server) {
  const child = run("hello", [], { env: { ...process.env, PLIMSOLL_SERVER: server.url }, stdio: ["ignore", "pipe", "inherit"] });
  server.apps.push(child);
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.includes("source=live")) break;
  }
  child.stdout.resume();
  return { stop: () => endProcess(child), freeze: () => child.kill("SIGSTOP"), thaw: () => child.kill("SIGCONT") };
}

// flagctl runs the command line against a server.
export async function flagctl(server, ...args) {
  const { stdout } = await promisify(execFile)(join(binaries, "flagctl"), args, {
    env: { ...process.env, PLIMSOLL_SERVER: server.url, XDG_CACHE_HOME: tmpdir(), XDG_CONFIG_HOME: tmpdir(), USER: "grace" }, timeout: 30_000,
  });
  return stdout;
}

// rpc calls the server's API.
export async function rpc(server, method, message) {
  const resp = await fetch(`${server.url}/plimsoll.v1.${method}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(message), signal: AbortSignal.timeout(30_000),
  });
  const answer = await resp.json();
  if (!resp.ok) throw new Error(`${method}: ${resp.status} ${JSON.stringify(answer)}`);
  return answer;
}

export const definitionOf = async (server, key) => JSON.parse((await rpc(server, "FlagService/GetFlag", { key })).flag.definition);
export const records = async (server, more = {}) => (await rpc(server, "AuditService/ListRecords", { limit: 20, ...more })).records ?? [];

// ---- The browser.

let browser;

async function theBrowser() {
  browser ??= process.env.PLIMSOLL_BROWSER
    ? chromium.connect(process.env.PLIMSOLL_BROWSER)
    : chromium.launch(launchOptions);
  return browser;
}

// visit opens a page in a browser profile of its own. When the test ends, it
// fails if a page sent a request to another machine, wrote to the console, broke
// its own policy or had an error, unless faults are expected: then it is for
// the test to look at the value's faults.
export async function visit(t, server, path = "/", { faultsExpected = false, ...options } = {}) {
  const context = await (await theBrowser()).newContext({ viewport: desktop, colorScheme: "light", reducedMotion: "reduce", baseURL: server.url, ...options });
  const faults = [];
  context.setDefaultTimeout(patience);
  context.on("request", (r) => {
    const url = new URL(r.url());
    if (url.protocol !== "data:" && url.host !== new URL(server.url).host) faults.push(`a request left for ${r.url()}`);
  });
  context.on("console", (m) => {
    // What a form is answered that cannot be taken is no fault of the page.
    if (/status of (403|409|422)/.test(m.text())) return;
    if (m.type() === "error" || m.type() === "warning") faults.push(`console ${m.type()}: ${m.text()}`);
  });
  context.on("weberror", (e) => faults.push(`script error: ${e.error().stack}`));
  t.after(async () => {
    await context.close();
    if (!faultsExpected) assert.deepEqual(faults, []);
  });
  const page = await context.newPage();
  page.faults = faults;
  await open(page, path);
  return page;
}

// open goes to a page, and waits until it is live, if it can be.
export async function open(page, path) {
  const resp = await page.goto(path);
  await live(page);
  return resp;
}

// live waits until a page hears from the server.
export async function live(page) {
  if (await page.evaluate(() => document.documentElement.classList.contains("js") && document.body.dataset.events)) {
    await page.waitForSelector("html[data-live]", { state: "attached" });
  }
}

// ---- What every page has to pass.

const validator = new HtmlValidate({
  extends: ["html-validate:standard"],
  rules: {
    // templ writes void elements and boolean attributes its own way.
    "void-style": "off",
    "attribute-boolean-style": "off",
    "no-trailing-whitespace": "off",
    "doctype-style": "off",
    // Names on purpose: several forms in turn, each with its own fields.
    "form-dup-name": "off",
    // A switch that is a link works without a script.
    "prefer-native-element": "off",
    "long-title": "off",
    "no-inline-style": "error",
  },
});

// validate asserts that what the server sends is valid HTML.
export async function validate(path, html) {
  const report = await validator.validateString(html);
  const lines = html.split("\n");
  const found = report.results.flatMap((r) => r.messages).map((m) => `${m.ruleId}: ${m.message} at ${JSON.stringify((lines[m.line - 1] ?? "").slice(Math.max(0, m.column - 40), m.column + 120))}`);
  assert.deepEqual(found, [], `${path} is not valid`);
}

// accessible asserts that axe finds nothing on a page as it stands.
export async function accessible(page, what, options = {}) {
  await page.evaluate(axeSource + "; undefined");
  const violations = await page.evaluate(async ({ exclude }) => {
    const result = await globalThis.axe.run({ exclude: exclude ?? [] }, { resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] });
    return result.violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(" ")}: ${n.failureSummary.replaceAll("\n", " ")}`));
  }, options);
  assert.deepEqual(violations, [], `axe on ${what}`);
}

// fits asserts that a page does not scroll sideways.
export async function fits(page, what) {
  const [have, want] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(have <= want, `${what} is ${have} pixels wide in a window of ${want}`);
}

// steady runs a change, and asserts that nothing on the page moved because of it.
export async function steady(page, change) {
  await page.evaluate(() => {
    window.shifts = [];
    new PerformanceObserver((list) => {
      for (const e of list.getEntries()) window.shifts.push({ value: e.value, who: e.sources.map((s) => s.node?.outerHTML?.slice(0, 120) ?? s.node?.nodeName) });
    }).observe({ type: "layout-shift" });
  });
  await change();
  // Two frames: what was laid out is reported with the next one.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const shifts = await page.evaluate(() => window.shifts);
  assert.ok(shifts.reduce((sum, s) => sum + s.value, 0) < 0.01, `the page moved: ${JSON.stringify(shifts)}`);
}

// shot keeps a picture of a page.
export async function shot(page, name) {
  const dir = join(here, "shots");
  mkdirSync(dir, { recursive: true });
  await page.screenshot({ path: join(dir, `${name}.png`), fullPage: true });
}

// ---- What people do.

// answer gives the reason in the open dialog, presses its button, and waits for
// the message that it was done.
export async function answer(page, button, reason = "because of the test", fill = async () => {}) {
  const dialog = page.locator("#dialog[open]");
  await dialog.waitFor();
  await fill(dialog);
  await dialog.getByLabel(/^Reason/).fill(reason);
  await dialog.getByRole("button", { name: button, exact: true }).click();
  await dialog.waitFor({ state: "hidden" });
}

// toastSays waits for a message.
export async function toastSays(page, text) {
  const toast = page.locator(".toast").filter({ hasText: text }).last();
  await toast.waitFor();
  return toast;
}

// eventually waits until a condition of the server's state holds.
export async function eventually(what, condition) {
  const end = Date.now() + patience;
  for (;;) {
    if (await condition()) return;
    if (Date.now() > end) assert.fail(`within ${patience / 1000} s: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
