// The console without a mouse, and without a script.
import assert from "node:assert/strict";
import { test } from "node:test";
import { definitionOf, live, startServer, toastSays, visit } from "./harness.mjs";

const server = await startServer("--demo");

const focus = (page) => page.evaluate(() => {
  const el = document.activeElement;
  const style = getComputedStyle(el);
  return { name: el.getAttribute("aria-label") || el.textContent.trim() || el.name, visible: el.matches(":focus-visible") && style.outlineStyle !== "none" && style.outlineWidth !== "0px", href: el.href };
});

// tabTo goes on by Tab until the focus is on what has a name. Each stop on the
// way must be visible.
async function tabTo(page, name, limit = 60) {
  for (let i = 0; i < limit; i++) {
    await page.keyboard.press("Tab");
    const at = await focus(page);
    assert.ok(at.visible, `the focus on ${JSON.stringify(at.name)} is not visible`);
    if (name.test(at.name)) return;
  }
  assert.fail(`${limit} times Tab do not lead to ${name}`);
}

for (const key of ["Space", "Enter"]) {
  test(`a toggle by Tab and ${key}; the focus comes back`, async (t) => {
    const page = await visit(t, server, "/ns/default/flags?q=recommendations");
    await tabTo(page, /^recommendations is/);
    const was = (await definitionOf(server, "recommendations")).defaultVariant;
    await page.keyboard.press(key);
    const reason = page.locator("#dialog[open]").getByLabel(/^Reason/);
    await reason.waitFor();
    await page.locator("#dialog[open] [name=reason]:focus").waitFor();
    await page.keyboard.type("by hand");
    await page.keyboard.press("Enter");
    const to = was === "on" ? "off" : "on";
    await toastSays(page, `recommendations serves ${to}`);
    await page.locator("a[role=switch]:focus").waitFor();
    assert.match((await focus(page)).name, /^recommendations is/);
    assert.equal((await definitionOf(server, "recommendations")).defaultVariant, to);
  });
}

test("Esc closes a question without doing it; the focus comes back", async (t) => {
  const page = await visit(t, server, "/ns/default/flags?q=reviews");
  await tabTo(page, /^Kill reviews/);
  await page.keyboard.press("Enter");
  await page.locator("#dialog[open] [name=reason]:focus").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#dialog").waitFor({ state: "hidden" });
  // The browser tells of the close a moment after it has hidden the dialog.
  await page.waitForFunction(() => document.getElementById("dialog").textContent === "");
  assert.match((await focus(page)).name, /^Kill reviews/);
});

test("a dialog keeps the focus within it", async (t) => {
  const page = await visit(t, server, "/ns/default/act/kill?flag=reviews");
  await page.goto("/ns/default/flags?q=reviews");
  await live(page);
  await page.getByRole("link", { name: "Kill reviews" }).press("Enter");
  await page.locator("#dialog[open] [name=reason]:focus").waitFor();
  for (let i = 0; i < 12; i++) {
    await page.keyboard.press("Tab");
    // Outside the dialog only the browser's own frame may have it.
    assert.ok(await page.evaluate(() => document.activeElement === document.body || document.activeElement.closest("#dialog") !== null));
  }
});

test("keys for the search, the help and the pages", async (t) => {
  const page = await visit(t, server, "/ns/default/");
  await page.keyboard.press("?");
  await page.locator("#dialog[open]").getByText("search flags").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#dialog").waitFor({ state: "hidden" });
  for (const [key, path] of [["f", "/flags"], ["m", "/map"], ["p", "/fleet"], ["o", "/ns/default/"]]) {
    await page.keyboard.press("g");
    await page.keyboard.press(key);
    await page.waitForURL((url) => url.pathname.endsWith(path));
    await live(page);
  }
  // From another page, / leads to the search.
  await page.keyboard.press("/");
  await page.waitForURL(/\/flags/);
  await live(page);
  await page.keyboard.press("/");
  await page.locator("[data-search]:focus").waitFor();
  await page.keyboard.type("g f ? jk /");
  assert.equal(await page.getByRole("searchbox").inputValue(), "g f ? jk /", "keys are text while one types");
});

test("j and k walk along the list", async (t) => {
  const page = await visit(t, server, "/ns/default/flags");
  const keys = await page.locator("tbody .cell-key a").allTextContents();
  for (const [key, want] of [["j", 0], ["j", 1], ["j", 2], ["k", 1]]) {
    await page.keyboard.press(key);
    assert.equal((await focus(page)).name, keys[want]);
  }
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.searchParams.get("key") === keys[1]);
});

test("the first Tab offers to skip to the content", async (t) => {
  const page = await visit(t, server, "/ns/default/flags");
  await page.keyboard.press("Tab");
  assert.match((await focus(page)).name, /^Skip to the content/);
  await page.keyboard.press("Enter");
  await page.locator("main:focus").waitFor();
});

test("without a script: read, toggle, undo, search, edit", async (t) => {
  const page = await visit(t, server, "/ns/default/", { javaScriptEnabled: false });
  await page.getByText("10 flags in").waitFor();
  await page.getByRole("link", { name: "Flags", exact: true }).click();
  await page.getByRole("searchbox").fill("recommendations");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByText("2 of").waitFor();
  const was = (await definitionOf(server, "recommendations")).defaultVariant;
  const to = was === "on" ? "off" : "on";
  await page.getByRole("switch", { name: /^recommendations is/ }).click();
  await page.getByLabel(/^Reason/).fill("no script here");
  await page.getByRole("button", { name: `Switch to ${to}` }).click();
  await page.getByRole("heading", { name: `recommendations serves ${to}` }).waitFor();
  assert.equal((await definitionOf(server, "recommendations")).defaultVariant, to);
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByRole("heading", { name: /Taken back/ }).waitFor();
  await page.getByRole("link", { name: "Go on" }).click();
  assert.equal((await definitionOf(server, "recommendations")).defaultVariant, was);

  await page.goto("/ns/default/act/shed?tier=optional");
  await page.locator("input[name=percent]").fill("12");
  await page.getByRole("button", { name: "Show what it does" }).click();
  await page.getByText("12\u202f%").first().waitFor();
  await page.getByLabel(/^Reason/).fill("dim by hand");
  await page.getByRole("button", { name: "Shed", exact: true }).click();
  await page.getByRole("heading", { name: /12.*of tier optional shed/ }).waitFor();

  await page.goto("/ns/default/flag/edit?key=welcome-banner");
  await page.getByLabel("Description").fill("Without a script.");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.waitForURL(/flag\?.*key=welcome-banner/);
  await page.getByText("Without a script.").first().waitFor();
  for (const path of ["map", "map?dep=ranker", "fleet", "help", "flag?key=new-checkout"]) {
    const resp = await page.goto(`/ns/default/${path}`);
    assert.equal(resp.status(), 200, path);
    assert.ok(await page.locator("main").isVisible());
  }
});
