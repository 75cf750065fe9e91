// Everything that a page can change, done as people do it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { answer, definitionOf, eventually, flagctl, open, records, rpc, startApp, startServer, toastSays, visit } from "./harness.mjs";

const server = await startServer("--demo");
const app = await startApp(server);

const level = async () => (await rpc(server, "DegradationService/GetDegradation", {})).levelMillionths ?? 0;

test("a toggle asks, changes, and is taken back from its message", async (t) => {
  const page = await visit(t, server, "/ns/default/flags");
  const toggle = page.getByRole("switch", { name: /^recommendations is/ });
  assert.equal(await toggle.getAttribute("aria-checked"), "true");
  await toggle.click();
  const dialog = page.locator("#dialog[open]");
  await dialog.getByText("All users get off instead of on.").waitFor();
  assert.equal(await toggle.getAttribute("aria-checked"), "true", "a toggle shows what is so");
  await answer(page, "Switch to off", "less load");
  const toast = await toastSays(page, "recommendations serves off");
  await page.getByRole("switch", { name: /^recommendations is off/ }).waitFor();
  await toast.getByText("applied by all 1").waitFor();
  const [rec] = await records(server);
  assert.deepEqual([rec.reason, rec.actor.origin], ["less load", "console"]);
  await toast.getByRole("button", { name: "Undo" }).click();
  await toastSays(page, "Taken back");
  await page.getByRole("switch", { name: /^recommendations is on/ }).waitFor();
  assert.equal((await definitionOf(server, "recommendations")).defaultVariant, "on");
});

test("a change shows how far it has got, until every process has it", async (t) => {
  const page = await visit(t, server, "/ns/default/flags");
  const frozen = await startApp(server);
  t.after(() => frozen.stop());
  // A report that got lost is made up for by the next one, ten seconds later.
  await page.getByText("applied by all 2").first().waitFor({ timeout: 40_000 });
  frozen.freeze();
  try {
    await page.getByRole("switch", { name: /^recommendations is on/ }).click();
    await answer(page, "Switch to off");
    const toast = await toastSays(page, "recommendations serves off");
    await toast.getByText("applying 1 of 2").waitFor();
    await page.locator("tr", { hasText: "recommendations" }).getByText("applying 1 of 2").waitFor();
  } finally {
    frozen.thaw();
  }
  await page.locator(".toast").getByText("applied by all 2").waitFor();
  await frozen.stop();
  await flagctl(server, "set", "recommendations", "on");
});

test("kill and restore, from the list", async (t) => {
  const page = await visit(t, server, "/ns/default/flags?q=reviews");
  await page.getByRole("link", { name: "Kill reviews" }).click();
  await answer(page, "Kill", "the database is slow", async (dialog) => {
    await dialog.getByText("1 flag changes its answers").waitFor();
    await dialog.getByLabel("How long").selectOption("30m");
  });
  await toastSays(page, "reviews is killed: everybody gets cached");
  await page.getByText("killed: cached").waitFor();
  const { overrides } = await rpc(server, "DegradationService/GetDegradation", {});
  assert.equal(overrides[0].reason, "the database is slow");
  assert.ok(overrides[0].expiresAt);
  await page.getByRole("link", { name: "Restore reviews" }).click();
  await answer(page, "Restore");
  await toastSays(page, "reviews is restored");
  await page.getByRole("link", { name: "Kill reviews" }).waitFor();
});

test("a dangerous question wants a reason", async (t) => {
  const page = await visit(t, server, "/ns/default/act/kill?flag=reviews");
  await page.getByRole("button", { name: "Kill", exact: true }).click();
  assert.ok(await page.locator("[name=reason]:invalid").count());
  assert.match(page.url(), /act\/kill/);
});

test("shed and stop, with what it does while one chooses", async (t) => {
  const page = await visit(t, server, "/ns/default/");
  await page.getByRole("link", { name: "Shed tier optional", exact: true }).click();
  await answer(page, "Shed", "load", async (dialog) => {
    await dialog.locator("input[name=percent]").fill("25");
    await dialog.locator("#question-effects").getByText("25\u202f%").first().waitFor();
    assert.equal(await dialog.locator("input[type=range]").inputValue(), "25");
  });
  await toastSays(page, "25\u202f% of tier optional shed");
  await page.locator("#active").getByText("shed-optional").waitFor();
  assert.equal(await level(), 250000);
  await page.getByRole("link", { name: "Stop shedding tier optional" }).click();
  await answer(page, "Stop shedding");
  await page.locator("#active").getByText("Nothing. Every feature serves").waitFor();
  assert.equal(await level(), 0);
});

test("fix the level, and give it back", async (t) => {
  const page = await visit(t, server, "/ns/default/");
  await page.getByRole("link", { name: "Fix the level" }).click();
  await answer(page, "Fix the level", "drill", (dialog) => dialog.locator("input[name=level]").fill("1.5"));
  await page.locator("#strip").getByText("AUTOMATIC SHEDDING OFF").waitFor();
  assert.equal(await level(), 1500000);
  await page.getByRole("link", { name: "Give it back" }).click();
  await answer(page, "Give it back");
  await page.locator("#strip").getByText("AUTOMATIC SHEDDING OFF").waitFor({ state: "hidden" });
  assert.equal(await level(), 0);
});

test("restore everything", async (t) => {
  await flagctl(server, "shed", "optional", "--percent", "10", "--reason", "a test");
  await flagctl(server, "kill", "reviews", "--reason", "a test");
  const page = await visit(t, server, "/ns/default/");
  await page.getByRole("link", { name: "Restore everything" }).click();
  await answer(page, "Restore everything", "", (dialog) => dialog.getByText("1 override and 1 hold are removed.").waitFor());
  await page.locator("#active").getByText("Nothing. Every feature serves").waitFor();
});

test("undo from the list of changes", async (t) => {
  await flagctl(server, "set", "welcome-banner", "sale", "--reason", "the sale begins");
  const page = await visit(t, server, "/ns/default/");
  await page.locator("#recent li").first().getByRole("link", { name: /^Undo/ }).click();
  await answer(page, "Undo", "too early", (dialog) => dialog.getByText("the sale begins").waitFor());
  await toastSays(page, "Taken back");
  assert.equal((await definitionOf(server, "welcome-banner")).defaultVariant, "plain");
});

test("the flag's page: default, disable, enable, kill, restore", async (t) => {
  const page = await visit(t, server, "/ns/default/flag?key=search-ranking");
  await page.getByRole("link", { name: /^Make.*alphabetical/ }).click();
  await answer(page, "Change");
  await page.locator("#flag-variants tr", { hasText: "alphabetical" }).getByText("default").first().waitFor();
  await page.getByRole("link", { name: "Disable…" }).click();
  await answer(page, "Disable");
  await page.locator("#flag-head").getByText("Disabled: apps use their own default").waitFor();
  await page.getByRole("link", { name: "Enable…" }).click();
  await answer(page, "Enable");
  await page.locator("#flag-head").getByText("Enabled: ").waitFor();
  await page.getByRole("link", { name: "Kill…" }).click();
  await answer(page, "Kill", "slow", (dialog) => dialog.getByLabel("Variant").selectOption("popular"));
  await page.locator("#flag-head").getByText("Everybody gets popular").waitFor();
  await page.locator("#flag-head").getByRole("link", { name: "Restore" }).click();
  await answer(page, "Restore");
  await page.locator("#flag-head").getByRole("link", { name: "Kill…" }).waitFor();
});

test("roll back to an older version, after seeing what that changes", async (t) => {
  const page = await visit(t, server, "/ns/default/flag?key=search-ranking");
  await page.getByRole("link", { name: /^Roll back/ }).last().click();
  await answer(page, "Roll back", "it was better before", (dialog) => dialog.getByText("personal").first().waitFor());
  await toastSays(page, "search-ranking");
  await eventually("the old definition is back", async () => (await definitionOf(server, "search-ranking")).defaultVariant === "personal");
});

test("make a flag, edit its rules by the form, try it, delete it", async (t) => {
  const page = await visit(t, server, "/ns/default/flags");
  await page.getByRole("link", { name: "New flag" }).click();
  await page.getByLabel("Key").fill("express delivery");
  await page.getByLabel("Description").fill("By bike.");
  await page.getByLabel(/^Reason/).fill("a new feature");
  await page.getByRole("button", { name: "Make the flag" }).click();
  await page.waitForURL(/flag\?.*key=express/);
  await toastSays(page, "express delivery");

  await page.getByRole("link", { name: "Edit", exact: true }).click();
  await page.getByRole("button", { name: "Add a rule" }).click();
  await page.getByLabel("Attribute of the context").fill("country");
  await page.getByLabel("What is asked").selectOption("in");
  await page.locator("[name='rule.0.cond.0.value']").fill("de, at");
  await page.locator("[name='rule.0.then.kind']").selectOption("variant");
  await page.locator("[name='rule.0.then.variant']").selectOption("on");
  await page.locator("#editor-verdict").getByText("country").first().waitFor();
  await page.getByLabel(/^Reason/).fill("two countries first");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.waitForURL(/flag\?.*key=express/);
  await page.locator("#flag-rules").getByText("country").waitFor();
  const definition = await definitionOf(server, "express delivery");
  assert.deepEqual(definition.targeting.if[0], { in: [{ var: "country" }, ["de", "at"]] });

  const play = page.locator("#flag-play");
  await play.getByLabel(/^Context/).fill('{"country":"at"}');
  await play.getByRole("button", { name: "Evaluate" }).click();
  await page.locator("#play-result").getByText("TARGETING_MATCH").waitFor();
  await page.locator("#play-result .trace").getByText("in", { exact: true }).waitFor();

  await open(page, "/ns/default/act/delete?flag=express%20delivery");
  await page.getByLabel(/^Reason/).fill("not wanted after all");
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("heading", { name: "express delivery is deleted" }).waitFor();
  await page.getByRole("button", { name: "Undo" }).click();
  await eventually("the flag is back", async () => (await definitionOf(server, "express delivery").catch(() => null))?.targeting);
});

test("what a definition has wrong is said while one types, and what is typed stays", async (t) => {
  const page = await visit(t, server, "/ns/default/flag/edit?key=welcome-banner");
  await page.getByRole("button", { name: "Edit as JSON" }).click();
  await page.locator("#targeting").fill('{"iff": []}');
  await page.locator("#editor-verdict .note-bad").waitFor();
  await page.locator("#targeting").fill('{"if": [{"==": [{"var": "country"}, "de"]}, "sale"]}');
  await page.locator("#editor-verdict").getByText(/Nothing speaks against it|is it meant like this/).waitFor();
  await page.locator("#targeting").fill('{"if": [{"=": [{"var": "country"}, "de"]}, "sale"]}');
  await page.getByLabel(/^Reason/).fill("kept as well");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.locator("#editor-verdict .note-bad").or(page.locator("#editor-failed")).first().waitFor();
  assert.match(await page.locator("#targeting").inputValue(), /"="/);
  assert.equal(await page.getByLabel(/^Reason/).inputValue(), "kept as well");
});

test("search, filters and order", async (t) => {
  const page = await visit(t, server, "/ns/default/flags");
  const keys = () => page.locator("tbody .cell-key a").allTextContents();
  await page.getByRole("searchbox").fill("recomm");
  await page.getByText("2 of").waitFor();
  assert.deepEqual(await keys(), ["recommendation-count", "recommendations"]);
  assert.match(page.url(), /q=recomm/);
  await page.getByRole("searchbox").fill("");
  await page.locator("select[name=tier]").selectOption("critical");
  await page.getByText("1 of").waitFor();
  assert.deepEqual(await keys(), ["checkout"]);
  await page.locator("select[name=tier]").selectOption("");
  await page.locator("select[name=owner]").selectOption("payments");
  await page.getByText("2 of").waitFor();
  await page.locator("select[name=owner]").selectOption("");
  await page.locator("select[name=state]").selectOption("disabled");
  await page.getByText("1 of").waitFor();
  assert.deepEqual(await keys(), ["gift-wrapping"]);
  await open(page, "/ns/default/flags?label=kind%3Dcontent");
  assert.deepEqual((await keys()).sort(), ["theme", "welcome-banner"]);
});

test("the map tells what dies and what dims", async (t) => {
  const page = await visit(t, server, "/ns/default/map");
  await page.getByLabel(/What if/).fill("ranker");
  await page.getByRole("button", { name: "Show" }).first().click();
  const told = page.locator("#map-answer");
  await told.getByText("recommendations", { exact: true }).waitFor();
  await told.getByText("search-ranking", { exact: true }).waitFor();
  await open(page, "/ns/default/map?level=1");
  await page.locator("#map-answer").getByText("100\u202f%").first().waitFor();
  await page.getByRole("link", { name: "Fix the level there" }).click();
  await page.locator("#dialog[open]").getByText("Level 0 → 1").waitFor();
});

test("the fleet lists processes, and sees one go", async (t) => {
  const page = await visit(t, server, "/ns/default/fleet");
  await page.locator("#processes tbody tr").first().waitFor();
  const second = await startApp(server);
  await page.locator("#processes tbody tr").nth(1).waitFor();
  await second.stop();
  await page.locator("#processes tbody tr").nth(1).waitFor({ state: "detached", timeout: 30_000 });
  await app.stop();
});

test("somebody says who she is, and the audit log has it", async (t) => {
  const page = await visit(t, server, "/ns/default/flags");
  await page.getByText("Say who you are").click();
  await page.getByLabel(/^Your name/).fill("Ada Łovelace");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("Ada Łovelace").first().waitFor();
  await page.getByRole("switch", { name: /^checkout is on/ }).click();
  await answer(page, "Switch to off", "a drill");
  await toastSays(page, "checkout serves off");
  assert.equal((await records(server))[0].actor.name, "Ada Łovelace");
});
