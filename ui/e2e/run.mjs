// Runs all tests in one browser: node run.mjs [file…]
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { launchOptions } from "./browser.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const files = process.argv.length > 2 ? process.argv.slice(2) : readdirSync(here).filter((f) => f.endsWith(".test.mjs")).sort().map((f) => join(here, f));
const browser = await chromium.launchServer({ ...launchOptions, host: "127.0.0.1" });
// A test that hangs is ended before whoever waits for all of them gives up.
const tests = spawn(process.execPath, ["--test", "--test-concurrency=2", "--test-timeout=600000", "--test-reporter=spec", ...files], {
  stdio: "inherit", env: { ...process.env, PLIMSOLL_BROWSER: browser.wsEndpoint() },
});
const [code] = await once(tests, "exit");
await browser.close();
process.exitCode = code ?? 1;
