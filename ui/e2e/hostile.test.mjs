// What strangers may type, and what they may send.
import assert from "node:assert/strict";
import { test } from "node:test";
import { accessible, answer, definitionOf, fits, live, open, phone, records, rpc, startServer, toastSays, validate, visit } from "./harness.mjs";

const server = await startServer("--demo");

const script = `<script>window.pwned=1</script><img src=x onerror="window.pwned=1"><style>*{display:none}</style>`;
const override = "\u202egnp.exe\u2067\u2066 \u05e9\u05dc\u05d5\u05dd";
const emoji = "👩‍👩‍👧‍👦🏳️‍🌈 e\u0301\u0300\u0316".repeat(20);
const long = "A".repeat(5000) + " " + "weit ".repeat(1000);
const keys = [`"><script>window.pwned=1</script>`, `a' onmouseover='window.pwned=1`, override, [...emoji].slice(0, 30).join(""), "x".repeat(256), "a/b?c=d&e#f%2e%2e/..", "javascript:window.pwned=1"];

const define = (text) => JSON.stringify({
  state: "ENABLED", variants: { [script.slice(0, 60)]: true, "off\u202e": false }, defaultVariant: "off\u202e",
  targeting: { if: [{ "==": [{ var: script }, override] }, script.slice(0, 60), null] },
  degradation: { tier: "optional", degradedVariant: "off\u202e", dependsOn: [script.slice(0, 60), override] },
  plimsoll: { owner: script.slice(0, 60), description: text, labels: { kind: script.slice(0, 60) } },
});

for (const [i, key] of keys.entries()) {
  await rpc(server, "FlagService/CreateFlag", { key, definition: define([script, override, emoji, long][i % 4]), change: { reason: [script, override, emoji, long.slice(0, 4000)][i % 4] } });
}
await rpc(server, "DegradationService/Kill", { flagKeys: [keys[0]], change: { reason: script } });
await rpc(server, "DegradationService/Kill", { flagKeys: [keys[2]], change: { reason: override } });
await rpc(server, "DegradationService/Shed", { tier: "optional", shareMillionths: 100000, change: { reason: override + emoji } });

// harmless asserts that nothing of what strangers typed has run or broken out.
async function harmless(page, what) {
  assert.equal(await page.evaluate(() => window.pwned), undefined, what);
  assert.equal(await page.locator("main script, main style, main img, main [onerror], main [onmouseover]").count(), 0, what);
  assert.equal(await page.locator("a[href^='javascript' i]").count(), 0, what);
  // Text that turns around turns nothing but itself.
  const loose = await page.evaluate(() => {
    const out = [];
    for (const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); walk.nextNode();) {
      const n = walk.currentNode, inside = n.parentElement;
      if (/[\u202a-\u202e\u2066-\u2069]/.test(n.nodeValue) && !inside.closest("bdi, option, textarea, pre, title, datalist, svg text")) out.push(inside.outerHTML.slice(0, 200));
    }
    return out;
  });
  assert.deepEqual(loose, [], what);
  await fits(page, what);
}

test("hostile texts are harmless on every page", async (t) => {
  const page = await visit(t, server);
  const paths = ["", "flags", "map", "fleet", "act/level", "act/shed?tier=optional", "act/restore", `flags?q=${encodeURIComponent(script)}`, `flags?label=${encodeURIComponent(script)}`,
    `map?dep=${encodeURIComponent(script)}`, `map?dep=${encodeURIComponent(keys[0])}`, `map?level=${encodeURIComponent(script)}`, `flag?key=${encodeURIComponent("not-there" + script)}`,
    `act/shed?tier=${encodeURIComponent(script)}`, `act/done?title=${encodeURIComponent(script)}&note=${encodeURIComponent(override)}&back=${encodeURIComponent("javascript:alert(1)")}`,
    `act/level?back=${encodeURIComponent("//elsewhere.example/")}&level=${encodeURIComponent(script)}`];
  for (const key of keys) {
    const k = encodeURIComponent(key);
    paths.push(`flag?key=${k}`);
  }
  for (const key of [keys[0], keys[2], keys[4]]) {
    const k = encodeURIComponent(key);
    paths.push(`flag/edit?key=${k}`, `act/kill?flag=${k}`, `act/set?flag=${k}`, `act/disable?flag=${k}`, `act/delete?flag=${k}`);
  }
  for (const path of paths) {
    const resp = await open(page, `/ns/default/${path}`);
    assert.ok(resp.status() < 500, `${path}: ${resp.status()}`);
    // A flag that is not there, and a number that the browser itself refuses.
    page.faults.splice(0, page.faults.length, ...page.faults.filter((f) => !/status of 404|cannot be parsed/.test(f)));
    await harmless(page, path);
    const html = await (await fetch(`${server.url}/ns/default/${path}`)).text();
    await validate(path, html);
    assert.doesNotMatch(html, /(href|action|src|formaction)="(javascript:|\/\/)/i);
  }
});

test("hostile texts are harmless on a phone", async (t) => {
  const page = await visit(t, server, "/ns/default/", { viewport: phone });
  for (const path of ["", "flags", "map", `flag?key=${encodeURIComponent(keys[0])}`, `flag?key=${encodeURIComponent(keys[4])}`, `act/kill?flag=${encodeURIComponent(keys[4])}`]) {
    await open(page, `/ns/default/${path}`);
    await harmless(page, `${path} on a phone`);
  }
});

test("hostile texts are harmless in dialogs, messages and live updates, and can be worked with", async (t) => {
  const page = await visit(t, server, "/ns/default/flags");
  for (const key of [keys[1], keys[3]]) {
    await page.getByRole("row").filter({ has: page.locator(".cell-key a", { hasText: key }) }).getByRole("link", { name: /^Kill/ }).click();
    await answer(page, "Kill", script);
    await toastSays(page, key);
    await harmless(page, key);
  }
  await rpc(server, "DegradationService/Kill", { flagKeys: ["reviews"], change: { reason: script + override } });
  await page.locator("tr", { hasText: "reviews" }).getByText("killed: ").waitFor();
  await harmless(page, "a live row");
  await open(page, "/ns/default/");
  await rpc(server, "DegradationService/Restore", { flagKeys: ["reviews"], change: { reason: override + script } });
  await page.locator("#recent li").first().getByText("restored").waitFor();
  await harmless(page, "the live overview");
  await accessible(page, "the overview with hostile texts");
});

test("a name is as harmless as any text", async (t) => {
  const page = await visit(t, server, "/ns/default/flags");
  await page.getByText("Say who you are").click();
  await page.getByLabel(/^Your name/).fill(`<b onclick=x>${override}`);
  await page.getByRole("button", { name: "Save" }).click();
  await live(page);
  await page.getByRole("switch", { name: /^recommendations is/ }).click();
  await answer(page, /^Switch to/);
  await toastSays(page, "recommendations serves");
  await open(page, "/ns/default/");
  await page.locator("#recent .who").first().waitFor();
  await harmless(page, "the overview");
  assert.match((await records(server))[0].actor.name, /^<b onclick/);
});

// ---- Forms that no page of ours has sent as it was made.

// askFor opens a question as a browser of its own would.
async function askFor(path, cookie = "") {
  const resp = await fetch(server.url + path, { headers: cookie ? { Cookie: cookie } : {} });
  const html = await resp.text();
  const fields = new URLSearchParams();
  const form = html.slice(html.indexOf('<form id="question"'));
  for (const [, name, value] of form.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)) fields.set(name, value);
  return { fields, cookie: resp.headers.getSetCookie().map((c) => c.split(";")[0]).join("; ") || cookie };
}

const post = (path, fields, headers) => fetch(server.url + path, { method: "POST", body: fields, headers: { Origin: server.url, ...headers }, redirect: "manual" });

test("forged and replayed forms are refused, and change nothing", async () => {
  const at = "/ns/default/act/kill", question = "/ns/default/act/kill?flag=reviews";
  const changes = async () => (await records(server, { limit: 1 }))[0].seq;
  const before = await changes();
  const mine = await askFor(question);
  const theirs = await askFor(question);
  const changed = (name, value) => {
    const f = new URLSearchParams([...mine.fields, ["reason", "forged"], ["variant", "off"]]);
    if (value === null) f.delete(name);
    else f.set(name, value);
    return f;
  };
  const refused = {
    "no token": [changed("csrf", null), { Cookie: mine.cookie }],
    "another token": [changed("csrf", "A".repeat(54)), { Cookie: mine.cookie }],
    "another session's token": [changed("csrf", theirs.fields.get("csrf")), { Cookie: mine.cookie }],
    "another session's form": [changed("x", ""), { Cookie: theirs.cookie }],
    "another change": [changed("change", theirs.fields.get("change")), { Cookie: mine.cookie }],
    "no cookie": [changed("x", ""), {}],
    "no origin": [changed("x", ""), { Cookie: mine.cookie, Origin: "" }],
    "another origin": [changed("x", ""), { Cookie: mine.cookie, Origin: "https://evil.example" }],
    "the origin null": [changed("x", ""), { Cookie: mine.cookie, Origin: "null" }],
    "another port": [changed("x", ""), { Cookie: mine.cookie, Origin: "http://127.0.0.1:1" }],
    "another site, as the browser says": [changed("x", ""), { Cookie: mine.cookie, "Sec-Fetch-Site": "cross-site" }],
  };
  for (const [what, [fields, headers]] of Object.entries(refused)) {
    const resp = await post(at, fields, headers);
    assert.equal(resp.status, 403, `${what}: ${resp.status}`);
  }
  const huge = changed("reason", "x".repeat(600 << 10));
  assert.equal((await post(at, huge, { Cookie: mine.cookie })).status, 413);
  assert.equal(await changes(), before, "nothing was changed");

  const once = changed("reason", "for once");
  assert.equal((await post(at, once, { Cookie: mine.cookie })).status, 303);
  const after = await changes();
  assert.notEqual(after, before);
  const again = await post(at, once, { Cookie: mine.cookie });
  assert.equal(again.status, 409);
  assert.match(await again.text(), /sent already/);
  // A server that has forgotten it still finds it in the audit log.
  await server.kill();
  await server.restart();
  assert.equal((await post(at, once, { Cookie: mine.cookie })).status, 409);
  assert.equal(await changes(), after);
});

test("a page of another site can neither frame nor send", async (t) => {
  const { createServer } = await import("node:http");
  const form = (await askFor("/ns/default/act/set?flag=reviews&variant=off")).fields;
  const evil = createServer((req, res) => {
    res.setHeader("Content-Type", "text/html");
    res.end(`<iframe src="${server.url}/ns/default/"></iframe><form method="post" action="${server.url}/ns/default/act/set">${[...form].map(([n, v]) => `<input name="${n}" value="${v}">`).join("")}<input name="variant" value="off"><button>Win a prize</button></form>`);
  });
  await new Promise((done) => { evil.listen(0, "127.0.0.1", done); });
  t.after(() => evil.close());
  const page = await visit(t, server, "/", { faultsExpected: true });
  const was = await definitionOf(server, "reviews");
  await page.goto(`http://127.0.0.1:${evil.address().port}/`);
  const frame = page.frames().find((f) => f !== page.mainFrame());
  assert.equal(await frame?.locator("main").count().catch(() => 0) ?? 0, 0, "the console shows in a frame");
  const [resp] = await Promise.all([page.waitForResponse((r) => r.request().method() === "POST"), page.getByRole("button", { name: "Win a prize" }).click()]);
  assert.equal(resp.status(), 403);
  assert.deepEqual(await definitionOf(server, "reviews"), was);
});
