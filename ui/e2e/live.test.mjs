// Pages that change by themselves, under the hands of somebody who works on them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { answer, definitionOf, flagctl, live, open, patience, rpc, startServer, toastSays, visit } from "./harness.mjs";

const server = await startServer("--demo");

// seen runs flagctl, and tells how long after its end a page shows the change.
async function seen(t, page, sign, ...args) {
  await flagctl(server, ...args);
  const from = performance.now();
  await sign.waitFor();
  t.diagnostic(`seen ${Math.round(performance.now() - from)} ms after flagctl had ended`);
}

// focused is where the focus and the selection are.
const focused = (page) => page.evaluate(() => {
  const el = document.activeElement;
  return [el.name || el.id || el.nodeName, el.value, el.selectionStart, el.selectionEnd];
});

test("a search that somebody types stays when a row changes", async (t) => {
  const page = await visit(t, server, "/ns/default/flags", { viewport: { width: 1280, height: 420 } });
  const box = page.getByRole("searchbox");
  await box.fill("re");
  await page.waitForURL(/q=re$/);
  await box.press("ArrowLeft");
  await page.evaluate(() => window.scrollTo(0, 150));
  const before = [await focused(page), await page.evaluate(() => window.scrollY)];
  assert.ok(before[1] > 0);
  await seen(t, page, page.getByRole("switch", { name: /^recommendations is off/ }), "set", "recommendations", "off", "--reason", "under the typist's hands");
  assert.deepEqual([await focused(page), await page.evaluate(() => window.scrollY)], before);
});

test("only the row that changed is touched", async (t) => {
  const page = await visit(t, server, "/ns/default/flags");
  await page.evaluate(() => {
    window.touched = new Set();
    new MutationObserver((list) => {
      for (const m of list) {
        const row = (m.target.nodeType === 1 ? m.target : m.target.parentElement)?.closest("tbody tr");
        if (row && !m.target.parentElement?.closest("time") && m.target.nodeName !== "TIME") window.touched.add(row.querySelector(".cell-key a").textContent);
      }
    }).observe(document.querySelector("tbody"), { subtree: true, childList: true, characterData: true, attributes: true });
  });
  await flagctl(server, "set", "image-quality", "lean");
  await page.locator("tr", { hasText: "image-quality" }).locator(".cell-serves").getByText("lean").waitFor();
  assert.deepEqual(await page.evaluate(() => [...window.touched]), ["image-quality"]);
});

test("a reason in an open dialog stays, and so does the focus", async (t) => {
  const page = await visit(t, server, "/ns/default/");
  await page.getByRole("link", { name: "Shed tier optional", exact: true }).click();
  const reason = page.locator("#dialog[open]").getByLabel(/^Reason/);
  await reason.fill("half a sent");
  const before = await focused(page);
  await seen(t, page, page.locator("#recent").getByText("while a dialog is open"), "set", "welcome-banner", "sale", "--reason", "while a dialog is open");
  assert.deepEqual(await focused(page), before);
  await reason.pressSequentially("ence");
  assert.equal(await reason.inputValue(), "half a sentence");
});

test("somebody who edits a flag is told of a change, keeps the text, and chooses between the versions", async (t) => {
  const page = await visit(t, server, "/ns/default/flag/edit?key=search-ranking");
  const about = page.getByLabel("Description");
  await about.fill("My own words.");
  const before = await focused(page);
  await seen(t, page, page.locator("#flag-news").getByText("This flag was changed"), "set", "search-ranking", "popular", "--reason", "from the side");
  assert.deepEqual(await focused(page), before);
  await page.getByLabel(/^Reason/).fill("new words");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  const conflict = page.locator("#editor-conflict");
  await conflict.getByText("from the side").waitFor();
  await conflict.locator(".diff").getByText("My own words.").waitFor();
  await conflict.locator(".diff").getByText('"defaultVariant": "popular"').first().waitFor();
  assert.equal(await about.inputValue(), "My own words.");
  assert.equal(await page.getByLabel(/^Reason/).inputValue(), "new words");
  await conflict.getByRole("button", { name: "Save over it" }).click();
  await page.waitForURL(/flag\?.*key=search-ranking/);
  const definition = await definitionOf(server, "search-ranking");
  assert.deepEqual([definition.plimsoll.description, definition.defaultVariant], ["My own words.", "personal"]);
});

test("two people at once: each sees the other's change, and a conflict shows both versions", async (t) => {
  const ada = await visit(t, server, "/ns/default/flags");
  const grace = await visit(t, server, "/ns/default/flags");
  // Grace opens the question, then Ada is quicker.
  await grace.getByRole("switch", { name: /^checkout is on/ }).click();
  await grace.locator("#dialog[open]").getByLabel(/^Reason/).fill("payments are down");
  await ada.getByRole("link", { name: "checkout", exact: true }).click();
  await live(ada);
  await ada.getByRole("link", { name: "Disable…" }).click();
  await answer(ada, "Disable", "Ada was quicker");
  await toastSays(ada, "checkout is disabled");
  await grace.locator("tr", { hasText: "checkout" }).first().getByText("disabled").waitFor();
  const dialog = grace.locator("#dialog[open]");
  await dialog.getByRole("button", { name: "Switch to off" }).click();
  await dialog.getByText("Ada was quicker").waitFor();
  const [theirs, mine] = await dialog.locator(".versions pre").allTextContents();
  assert.match(theirs, /"DISABLED"/);
  assert.match(mine, /"defaultVariant": "off"/);
  assert.equal(await dialog.getByLabel(/^Reason/).inputValue(), "payments are down");
  assert.equal((await definitionOf(server, "checkout")).defaultVariant, "on");
  // Having seen both, she sends it again.
  await dialog.getByRole("button", { name: "Switch to off" }).click();
  await toastSays(grace, "checkout serves off");
  const both = await definitionOf(server, "checkout");
  assert.deepEqual([both.state, both.defaultVariant], ["DISABLED", "off"]);
  // And the other way round.
  await open(grace, "/ns/default/flag?key=checkout");
  await grace.getByRole("link", { name: "Enable…" }).click();
  await answer(grace, "Enable");
  await ada.locator("#flag-head").getByText("Enabled: ").waitFor();
});

test("what shows on every page: the level, overrides, tiers in lists", async (t) => {
  const list = await visit(t, server, "/ns/default/flags");
  const map = await visit(t, server, "/ns/default/map");
  const one = await visit(t, server, "/ns/default/flag?key=recommendation-count");
  await flagctl(server, "shed", "optional", "--percent", "30", "--reason", "a test");
  await list.locator("tr", { hasText: "recommendation-count" }).locator(".shed").getByText("30\u202f%").waitFor();
  await one.locator("#flag-degradation").getByText("30\u202f%").waitFor();
  for (const page of [list, map, one]) await page.locator("#strip").getByText("level 0.3").waitFor();
  await flagctl(server, "level", "set", "auto");
  for (const page of [list, map, one]) await page.locator("#strip").getByText("level 0", { exact: true }).waitFor();
});

test("a new flag and a deleted one come and go in the list", async (t) => {
  const page = await visit(t, server, "/ns/default/flags");
  await rpc(server, "FlagService/CreateFlag", { key: "aaa-new", definition: '{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}' });
  await page.getByRole("link", { name: "aaa-new", exact: true }).waitFor();
  await rpc(server, "FlagService/DeleteFlag", { key: "aaa-new" });
  await page.getByRole("link", { name: "aaa-new", exact: true }).waitFor({ state: "detached" });
});

test("the server dies and comes back while forms are half typed", async (t) => {
  const editor = await visit(t, server, "/ns/default/flag/edit?key=welcome-banner", { faultsExpected: true });
  const asker = await visit(t, server, "/ns/default/", { faultsExpected: true });
  await editor.getByLabel("Description").fill("Typed before the crash.");
  await asker.getByRole("link", { name: "Shed tier optional", exact: true }).click();
  const dialog = asker.locator("#dialog[open]");
  await dialog.locator("input[name=percent]").fill("20");
  await dialog.getByLabel(/^Reason/).fill("typed before the crash");

  await server.kill();
  for (const page of [editor, asker]) {
    const banner = page.locator("#banner");
    await banner.getByText(/not answering.*ago/).waitFor({ timeout: 2 * patience });
  }
  // A form that is sent meanwhile is kept, and nobody is told that it was done.
  await dialog.getByRole("button", { name: "Shed", exact: true }).click();
  await asker.getByText("The server did not answer").waitFor();
  assert.equal(await dialog.getByLabel(/^Reason/).inputValue(), "typed before the crash");
  await editor.getByLabel(/^Reason/).fill("typed during the outage");

  await server.restart();
  for (const page of [editor, asker]) await page.locator("#banner").waitFor({ state: "hidden", timeout: 2 * patience });
  assert.equal(await editor.getByLabel("Description").inputValue(), "Typed before the crash.");
  assert.equal(await editor.getByLabel(/^Reason/).inputValue(), "typed during the outage");
  await dialog.getByRole("button", { name: "Shed", exact: true }).click();
  await toastSays(asker, "20\u202f% of tier optional shed");
  await editor.getByRole("button", { name: "Save", exact: true }).click();
  await editor.waitForURL(/flag\?.*key=welcome-banner/);
  assert.equal((await definitionOf(server, "welcome-banner")).plimsoll.description, "Typed before the crash.");
});
