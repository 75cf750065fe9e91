// Every page, as everybody has to be able to see it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { accessible, answer, fits, flagctl, live, open, phone, shot, startApp, startServer, steady, validate, visit } from "./harness.mjs";

const server = await startServer("--demo");

// A namespace in an incident: there is something to see on each page.
await startApp(server);
await flagctl(server, "shed", "optional", "--percent", "40", "--for", "30m", "--reason", "load is rising");
await flagctl(server, "kill", "reviews", "--for", "1h", "--reason", "the reviews database is slow");
await flagctl(server, "set", "welcome-banner", "storm", "--reason", "ferries are late");

const pages = {
  overview: "/ns/default/",
  flags: "/ns/default/flags",
  "flags-found": "/ns/default/flags?q=rec&tier=optional",
  "flags-none": "/ns/default/flags?q=nothing-has-this-name",
  flag: "/ns/default/flag?key=new-checkout",
  "flag-killed": "/ns/default/flag?key=reviews",
  "flag-gone": "/ns/default/flag?key=never-there",
  "flag-edit": "/ns/default/flag/edit?key=new-checkout",
  "flag-new": "/ns/default/flag/new",
  map: "/ns/default/map",
  "map-dependency": "/ns/default/map?dep=ranker",
  fleet: "/ns/default/fleet",
  help: "/ns/default/help",
  "ask-kill": "/ns/default/act/kill?flag=recommendations",
  "ask-shed": "/ns/default/act/shed?tier=standard",
  "ask-level": "/ns/default/act/level",
  "ask-set": "/ns/default/act/set?flag=welcome-banner",
  "not-found": "/nowhere",
};

const missing = { "flag-gone": 404, "not-found": 404 };

// A page that is not there is an error in the browser's console.
const forget404 = (page) => { page.faults.splice(0, page.faults.length, ...page.faults.filter((f) => !f.includes("404"))); };

test("every page is accessible in both schemes, and fits", async (t) => {
  const page = await visit(t, server);
  for (const [name, path] of Object.entries(pages)) {
    await t.test(name, async () => {
      const resp = await open(page, path);
      assert.equal(resp.status(), missing[name] ?? 200);
      if (missing[name]) forget404(page);
      await fits(page, name);
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        await accessible(page, `${name}, ${colorScheme}`);
        await shot(page, `${name}-${colorScheme}`);
      }
    });
  }
});

test("every page fits on a phone", async (t) => {
  const page = await visit(t, server, "/", { viewport: phone, isMobile: true, hasTouch: true });
  for (const [name, path] of Object.entries(pages)) {
    await t.test(name, async () => {
      await open(page, path);
      if (missing[name]) forget404(page);
      await fits(page, `${name} on a phone`);
      await shot(page, `${name}-phone`);
    });
  }
});

test("dialogs are accessible", async (t) => {
  for (const colorScheme of ["light", "dark"]) {
    const page = await visit(t, server, "/ns/default/", { colorScheme });
    await page.getByRole("link", { name: "Shed tier optional", exact: true }).click();
    await page.locator("#dialog[open] [name=percent]").waitFor();
    await accessible(page, `the dialog, ${colorScheme}`);
    await shot(page, `dialog-${colorScheme}`);
    await answer(page, "Shed", "more load");
    await page.locator(".toast").waitFor();
    await accessible(page, `the toast, ${colorScheme}`);
    await shot(page, `toast-${colorScheme}`);
    await page.getByLabel(/Namespace default/).click();
    await page.getByText("Say who you are").click();
    await accessible(page, `the menus, ${colorScheme}`);
  }
});

test("each page is valid HTML under a strict policy", async (t) => {
  for (const [name, path] of Object.entries(pages)) {
    await t.test(name, async () => {
      const resp = await fetch(server.url + path);
      const policy = resp.headers.get("content-security-policy");
      for (const part of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"]) {
        assert.ok(policy.includes(part), `${path} has the policy ${policy}`);
      }
      assert.doesNotMatch(policy, /unsafe|\*|http/);
      assert.equal(resp.headers.get("x-content-type-options"), "nosniff");
      assert.equal(resp.headers.get("cache-control"), "no-store");
      await validate(path, await resp.text());
    });
  }
});

test("the session's cookie is not for scripts or other sites", async (t) => {
  const page = await visit(t, server);
  const cookies = await page.context().cookies();
  assert.ok(cookies.length > 0);
  for (const c of cookies) assert.deepEqual([c.httpOnly, c.sameSite], [true, "Lax"], c.name);
});

test("colours: as the system has them, or as chosen", async (t) => {
  const page = await visit(t, server, "/ns/default/", { colorScheme: "dark" });
  const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const dark = await background();
  await page.emulateMedia({ colorScheme: "light" });
  const light = await background();
  assert.notEqual(dark, light);
  for (const [theme, want] of [["dark", dark], ["light", light], ["auto", light]]) {
    await page.getByRole("button", { name: /^Colours/ }).click();
    await page.locator(`html[data-theme=${theme}]`).waitFor({ state: "attached" });
    assert.equal(await background(), want, theme);
    await live(page);
  }
});

test("nothing moves when a page has loaded, nor when news come", async (t) => {
  const page = await visit(t, server, "/ns/default/flags");
  await steady(page, async () => {
    await flagctl(server, "set", "recommendations", "off", "--reason", "to see it change");
    await page.getByRole("switch", { name: /^recommendations is off/ }).waitFor();
  });
  await open(page, "/ns/default/");
  await steady(page, async () => {
    await flagctl(server, "shed", "optional", "--percent", "60", "--reason", "load rises on");
    await page.locator("#level").getByText("60\u202f%").first().waitFor();
  });
});
