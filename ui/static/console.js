// The console's only script. Pages work without it; with it they are live, and
// questions are asked in place. It keeps no state of its own but what it was
// told: nothing is shown as done before the server says so.
"use strict";
(() => {
  const doc = document, root = doc.documentElement, body = doc.body;
  const $ = (sel, from = doc) => from.querySelector(sel);
  const $$ = (sel, from = doc) => [...from.querySelectorAll(sel)];
  root.classList.add("js");

  // ---- Replacing in place: what is the same stays, with its focus, its
  // selection, its scroll position and what was typed into it.
  const keyOf = (n) => n.nodeType === 1 ? (n.id || n.getAttribute("data-key") || "") : "";
  const isField = (n) => /^(INPUT|TEXTAREA|SELECT)$/.test(n.nodeName);
  const isDirty = (f) => {
    if (f.type === "hidden") return false;
    if (f.nodeName === "SELECT") return [...f.options].some((o) => o.selected !== o.defaultSelected);
    if (f.type === "checkbox" || f.type === "radio") return f.checked !== f.defaultChecked;
    return f.value !== f.defaultValue;
  };

  function morph(from, to) {
    if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || keyOf(from) !== keyOf(to)) {
      from.replaceWith(to);
      return to;
    }
    if (from.nodeType !== 1) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return from;
    }
    if (from.hasAttribute("data-mine")) return from; // somebody works in it
    const touched = isField(from) && (from === doc.activeElement || isDirty(from));
    for (const a of [...from.attributes]) {
      if (!to.hasAttribute(a.name) && !(a.name === "open" && /^(DETAILS|DIALOG)$/.test(from.nodeName))) from.removeAttribute(a.name);
    }
    for (const a of to.attributes) {
      if (touched && /^(value|checked)$/.test(a.name)) continue;
      if (from.getAttribute(a.name) !== a.value) from.setAttribute(a.name, a.value);
    }
    if (from.nodeName === "TEXTAREA" || from.nodeName === "SELECT") {
      if (touched) return from;
      if (from.nodeName === "TEXTAREA") { from.defaultValue = to.defaultValue; from.value = to.value; return from; }
    }
    if (from.nodeName === "INPUT" && !touched && from.type !== "file") from.value = to.value;
    morphChildren(from, to);
    return from;
  }

  function morphChildren(from, to) {
    const keyed = new Map();
    for (const n of from.children) if (keyOf(n)) keyed.set(keyOf(n), n);
    let at = from.firstChild;
    for (const want of [...to.childNodes]) {
      const key = keyOf(want);
      let have = key ? keyed.get(key) : at;
      while (!key && have && keyOf(have)) have = have.nextSibling; // leave keyed ones to their own
      if (have && have.nodeType === want.nodeType && have.nodeName === want.nodeName) {
        if (have !== at) from.insertBefore(have, at); else at = at.nextSibling;
        const next = morph(have, want);
        if (next !== have && have === at) at = next.nextSibling;
        if (key) keyed.delete(key);
      } else {
        from.insertBefore(want, at);
      }
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
  }

  const parse = (html) => {
    const t = doc.createElement("template");
    t.innerHTML = html.trim();
    return t.content;
  };

  // ---- Time: relative texts go on by themselves. The server's clock counts.
  let skew = 0;
  const now = () => Date.now() + skew;
  const unit = (s) => s < 1 ? "now" : s < 60 ? `${Math.floor(s)} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
  function tick() {
    for (const t of $$("time[data-ago], time[data-left]")) {
      const at = Date.parse(t.dateTime);
      if (!t.title) t.title = t.textContent;
      const away = (now() - at) / 1000;
      let text;
      if (t.hasAttribute("data-left")) text = away >= 0 ? "ending" : `${unit(-away)} left`;
      else text = away < 5 ? "just now" : `${unit(away)} ago`;
      if (t.textContent !== text) t.textContent = text;
    }
    age();
  }

  // ---- How far a change has got.
  let reached = Number(body.dataset.done || 0), fleet = null;
  function rollout() {
    if (fleet && fleet.applied >= fleet.live && !fleet.unknown) reached = Math.max(reached, fleet.revision);
    for (const el of $$("[data-rollout]")) {
      const rev = Number(el.dataset.rollout);
      let text = "";
      if (rev > reached) text = fleet && fleet.revision >= rev ? `applying ${fleet.applied} of ${fleet.live}` : "applying";
      if (rev > reached && fleet && fleet.unknown && fleet.applied >= fleet.live) text = `applied by ${fleet.applied} of ${fleet.live}, ${fleet.unknown} unknown`;
      if (el.textContent !== text) el.textContent = text;
      if (el.closest(".toast") && !text && fleet) el.textContent = fleet.live ? `applied by all ${fleet.live}` : "no process is connected";
    }
  }

  // ---- Live.
  let source = null, lastHeard = Date.now(), waiting = Date.now(), everHeard = false, version = body.dataset.version || "", retry = 0, retryTimer = 0, reloadTimer = 0, confirmed = 0, still = false;
  const silent = 12000;

  function connect() {
    if (!body.dataset.events || doc.hidden) return;
    close();
    clearTimeout(retryTimer);
    const url = body.dataset.events + "&v=" + encodeURIComponent(version);
    source = new EventSource(url);
    const heard = () => { lastHeard = waiting = Date.now(); everHeard = true; retry = 0; root.dataset.live = ""; age(); };
    source.addEventListener("hello", heard);
    source.addEventListener("beat", (e) => {
      const d = JSON.parse(e.data);
      skew = d.now - Date.now();
      confirmed = d.confirmed;
      still = d.still;
      heard();
    });
    source.addEventListener("patch", (e) => { heard(); version = e.lastEventId || version; apply(JSON.parse(e.data)); });
    source.onerror = () => {
      close();
      age();
      // Full jitter: consoles that lose the same server do not come back at once.
      const wait = Math.random() * Math.min(10000, 500 * 2 ** retry++) + 200;
      retryTimer = setTimeout(connect, wait);
    };
  }
  function close() { if (source) { source.close(); source = null; } delete root.dataset.live; }

  function apply(p) {
    for (const [id, html] of Object.entries(p.html || {})) {
      const el = doc.getElementById(id);
      if (!el) continue;
      const frag = parse(id.startsWith("row-") ? `<table><tbody>${html}</tbody></table>` : html);
      const want = frag.querySelector("#" + CSS.escape(id));
      if (!want) continue;
      const is = morph(el, want);
      if (id.startsWith("row-")) { is.classList.remove("row-fresh"); void is.offsetWidth; is.classList.add("row-fresh"); }
    }
    for (const id of p.gone || []) doc.getElementById(id)?.remove();
    // Which rows a list has, and in which order, is for the server to say.
    const listed = doc.getElementById("flag-results") && /[?&](q|tier|owner|label|state|sort)=[^&]/.test(location.search);
    let sheds = false;
    for (const [tier, text] of Object.entries(p.shed || {})) {
      for (const el of $$(`[data-shed="${CSS.escape(tier)}"]`)) {
        if (el.textContent !== text) { el.textContent = text; sheds = true; }
        el.classList.toggle("shed-on", !text.startsWith("0"+"\u202f"));
      }
    }
    if (p.fleet) fleet = p.fleet;
    if (p.reload || listed && (sheds || /[?&]state=shed/.test(location.search) || Object.keys(p.html || {}).some((id) => id.startsWith("row-")))) reload();
    rollout();
    tick();
  }

  // reload loads the page anew, in place, a moment later: many consoles may
  // have been told to at once.
  let reloaded = 0;
  function reload() {
    if (reloadTimer) return;
    const wait = Math.max(0, reloaded + 2000 - Date.now()) + Math.random() * 600;
    reloadTimer = setTimeout(async () => {
      reloadTimer = 0;
      reloaded = Date.now();
      try { await load(location.href, false); } catch { /* the stream's banner says that the server is away */ }
    }, wait);
  }

  async function load(url, search) {
    const resp = await fetch(url, { headers: { Accept: "text/html" }, credentials: "same-origin" });
    if (resp.status >= 500) throw new Error(resp.statusText);
    if (!resp.ok && $("[data-mine]")) return; // what is being typed is worth more than the news that it is gone
    const page = new DOMParser().parseFromString(await resp.text(), "text/html");
    const ids = search ? [search] : ["strip", "main"];
    for (const id of ids) {
      const have = doc.getElementById(id), want = page.getElementById(id);
      if (have && want) morph(have, doc.importNode(want, true));
    }
    if (page.body.dataset.done) reached = Math.max(reached, Number(page.body.dataset.done));
    rollout();
    tick();
  }

  // age says how old the page is when nothing has come for a while.
  function age() {
    const banner = $("#banner");
    if (!banner || !body.dataset.events) return;
    const quiet = Date.now() - lastHeard, waited = Date.now() - waiting;
    let text = "";
    if (!source && everHeard && waited > 2500 || waited > silent) {
      text = `The server is not answering. This page shows how things were ${unit(quiet / 1000)} ago; it comes back by itself.`;
    } else if (confirmed > 15000) {
      text = `The server has not heard from its store for ${unit(confirmed / 1000)}: what is shown may be older than that. Apps go on as they are.`;
    } else if (still) {
      text = "Too many pages are open at this server for this one to follow what changes. Load it again to see how things are; it follows once there is room.";
    }
    banner.hidden = !text;
    if (banner.textContent !== text) banner.textContent = text;
    if (waited > silent && source && source.readyState === EventSource.OPEN) connect();
  }

  doc.addEventListener("visibilitychange", () => {
    if (doc.hidden) { close(); clearTimeout(retryTimer); } else { waiting = Date.now(); connect(); }
  });

  // ---- Questions.
  const dialog = $("#dialog");
  let opener = null;
  const back = () => location.pathname + location.search;

  async function partial(url, init = {}) {
    const headers = { "Plimsoll-Partial": "1", ...(init.headers || {}) };
    const resp = await fetch(url, { credentials: "same-origin", signal: AbortSignal.timeout(30000), ...init, headers });
    return { ok: resp.ok, status: resp.status, toast: resp.headers.get("Plimsoll-Toast"), html: await resp.text(), type: resp.headers.get("Content-Type") || "" };
  }

  function show(answer) {
    if (!answer.type.startsWith("text/html")) { say(answer.html.trim() || `The server answered ${answer.status}.`); return; }
    dialog.replaceChildren(parse(answer.html));
    dropPlain(dialog);
    if (!dialog.open) dialog.showModal();
    const first = $("[autofocus]", dialog) || $("input:not([type=hidden]), select, button", dialog);
    first?.focus();
    tick();
  }

  // Buttons for who has no script would be what Enter presses.
  function dropPlain(from) { for (const b of $$("button[formmethod=get]", from)) b.remove(); }

  function say(text, bad = true) {
    const el = doc.createElement("div");
    el.className = "toast" + (bad ? " toast-bad" : "");
    el.setAttribute("role", bad ? "alert" : "status");
    const p = doc.createElement("div");
    p.textContent = text;
    const x = doc.createElement("button");
    x.type = "button"; x.className = "close"; x.dataset.dismiss = ""; x.textContent = "×"; x.setAttribute("aria-label", "Dismiss");
    el.append(p, x);
    keep(el);
  }

  function keep(el) {
    const box = $("#toasts");
    box.append(el);
    while (box.children.length > 4) box.firstElementChild.remove();
    let timer = setTimeout(() => el.remove(), 20000);
    const stay = () => { clearTimeout(timer); timer = setTimeout(() => el.remove(), 20000); };
    el.addEventListener("pointerenter", stay);
    el.addEventListener("focusin", stay);
  }

  function toast(answer) {
    for (const el of [...parse(answer.html).children]) keep(el);
    rollout();
  }

  async function ask(url, from) {
    opener = from;
    const at = new URL(url, location.href);
    if (!at.searchParams.has("back")) at.searchParams.set("back", back());
    try { show(await partial(at)); } catch { say("The server did not answer; nothing was changed. Try again."); }
  }

  async function send(form, submitter) {
    const buttons = $$("button", form);
    buttons.forEach((b) => { b.disabled = true; });
    const data = new URLSearchParams(new FormData(form, submitter?.name ? submitter : undefined));
    try {
      const answer = await partial(form.action, { method: "POST", body: data });
      if (answer.toast) {
        if (dialog.open) dialog.close();
        form.closest(".toast")?.remove();
        toast(answer);
        if (form.hasAttribute("data-reload")) await load(location.href, false);
      } else {
        const typed = Object.fromEntries([...form.elements].filter((e) => e.name === "reason").map((e) => [e.name, e.value]));
        show(answer);
        for (const [name, value] of Object.entries(typed)) { const f = $(`[name="${name}"]`, dialog); if (f) f.value = value; }
      }
    } catch {
      say("The server did not answer. Whether the change was made is not known: look before you repeat it. What you typed is still here.");
    } finally {
      buttons.forEach((b) => { b.disabled = false; });
    }
  }

  // preview asks what a question's answer does with the values typed so far.
  let previews = 0;
  const preview = debounce(async (form) => {
    const mine = ++previews;
    const url = new URL(form.dataset.preview, location.href);
    for (const [k, v] of new FormData(form)) if (!/^(csrf|change|reason)$/.test(k)) url.searchParams.append(k, v);
    try {
      const answer = await partial(url);
      const fresh = parse(answer.html);
      const want = $("#question-effects", fresh), have = $("#question-effects", form);
      if (mine === previews && want && have) {
        morph(have, want);
        for (const id of ["question-title", "question-says", "question-go"]) {
          const old = doc.getElementById(id), now = $("#" + id, fresh);
          if (old && now) morph(old, now);
        }
        $(".note-bad", form)?.remove();
        const bad = $(".note-bad", fresh);
        if (bad) have.before(bad);
      }
    } catch { /* the button still works, and says what is wrong */ }
  }, 150);

  function debounce(fn, ms) {
    let t = 0;
    return (...args) => { clearTimeout(t); t = setTimeout(() => fn(...args), ms); };
  }

  dialog?.addEventListener("close", () => {
    dialog.replaceChildren();
    if (opener?.id || opener?.isConnected) opener.focus?.();
    opener = null;
  });

  doc.addEventListener("click", (e) => {
    if (e.ctrlKey || e.metaKey || e.shiftKey || e.button) return;
    const link = e.target.closest("a[data-dialog], [data-dismiss], [data-close]");
    if (!link) {
      for (const m of $$("details.menu[open]")) if (!m.contains(e.target)) m.open = false;
      return;
    }
    if (link.matches("[data-dismiss]")) { link.closest(".toast")?.remove(); return; }
    if (link.matches("[data-close]")) { if (dialog.open) { e.preventDefault(); dialog.close(); } return; }
    e.preventDefault();
    ask(link.href, link);
  });

  doc.addEventListener("submit", (e) => {
    const form = e.target;
    if (form.matches("[data-question], [data-act]")) {
      if (e.submitter?.formMethod === "get") return;
      if (!form.closest("dialog") && !form.matches("[data-act]")) return; // on a page of its own it is sent as it is
      e.preventDefault();
      send(form, e.submitter);
    } else if (form.matches("[data-live-search]")) {
      e.preventDefault();
      search(form);
    } else if (e.submitter?.matches("[data-here]")) {
      e.preventDefault();
      if (e.submitter.value === "check") check(form); else inPlace(form, e.submitter);
    }
  });

  // ---- Search as you type.
  let searches = 0;
  const searchSoon = debounce((form) => search(form), 120);
  async function search(form) {
    const mine = ++searches;
    const url = new URL(form.action);
    for (const [k, v] of new FormData(form)) if (v) url.searchParams.append(k, v);
    try {
      const resp = await fetch(url, { credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await resp.text(), "text/html");
      if (mine !== searches) return;
      const id = form.dataset.liveSearch, have = doc.getElementById(id), want = page.getElementById(id);
      if (have && want) morph(have, doc.importNode(want, true));
      history.replaceState(null, "", url.pathname + url.search);
      if (page.body.dataset.events !== body.dataset.events) { // what is live is another list
        body.dataset.events = page.body.dataset.events;
        version = page.body.dataset.version;
        connect();
      }
      rollout(); tick();
    } catch { say("The search did not get an answer; the list is as it was."); }
  }

  doc.addEventListener("input", (e) => {
    const el = e.target;
    if (el.dataset.twin) { const twin = doc.getElementById(el.dataset.twin); if (twin) twin.value = el.value; }
    if (el.id) for (const r of $$(`[data-twin="${CSS.escape(el.id)}"]`)) if (r !== el) r.value = el.value;
    const form = el.closest("form");
    if (!form) return;
    if (form.matches("[data-live-search]")) searchSoon(form);
    if (form.matches("[data-question]") && el.name !== "reason") preview(form);
    if (form.matches("[data-check]")) check(form);
  });

  // ---- Checking as you type: a form with data-check is sent there, and the
  // fragments of the answer replace those of the same id.
  let checks = 0;
  const check = debounce(async (form) => {
    const mine = ++checks;
    try {
      const answer = await partial(form.dataset.check, { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (mine !== checks || !answer.type.startsWith("text/html")) return;
      for (const want of [...parse(answer.html).children]) {
        const have = want.id && doc.getElementById(want.id);
        if (have) morph(have, want);
      }
    } catch { /* it is checked again when it is saved */ }
  }, 200);

  // inPlace does what a button of such a form says. What it answers replaces the
  // fragments whole: their fields have moved, so what was typed into one of them
  // may belong to another now.
  async function inPlace(form, button) {
    const mine = ++checks;
    try {
      const answer = await partial(form.dataset.check, { method: "POST", body: new URLSearchParams(new FormData(form, button)) });
      if (mine !== checks) return;
      if (!answer.type.startsWith("text/html")) { say(answer.html.trim()); return; }
      const place = new URL(button.formAction).hash.slice(1);
      for (const want of [...parse(answer.html).children]) doc.getElementById(want.id)?.replaceWith(want);
      const at = doc.getElementById(place);
      const next = $(`[value="${CSS.escape(button.value)}"]:not([disabled])`, form) || (at && $("input:not([type=hidden]), select, button:not([disabled])", at));
      next?.focus();
    } catch { say("The server did not answer; what you typed is still here. Try again."); }
  }

  // ---- Keys.
  let chord = "";
  doc.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const typing = isField(e.target) || e.target.isContentEditable;
    if (e.key === "Escape") { for (const m of $$("details.menu[open]")) { m.open = false; $("summary", m).focus(); } }
    if (e.key === " " && e.target.matches?.("a[role=switch]")) { e.preventDefault(); e.target.click(); return; }
    if (typing || dialog?.open) return;
    if (chord === "g") {
      chord = "";
      const link = $(`[data-keys="g ${CSS.escape(e.key)}"]`);
      if (link) { e.preventDefault(); link.click(); }
      return;
    }
    switch (e.key) {
      case "g": chord = "g"; setTimeout(() => { chord = ""; }, 1200); break;
      case "/": {
        e.preventDefault();
        const box = $("[data-search]");
        if (box) { box.focus(); box.select(); } else location.href = $('[data-keys="g f"]').href;
        break;
      }
      case "?": e.preventDefault(); $(".rail-help")?.click(); break;
      case "j": case "k": {
        const rows = $$("tbody tr a[href*='flag?'], ol.recent a").filter((a) => a.offsetParent);
        if (!rows.length) break;
        const at = rows.indexOf(doc.activeElement);
        rows[Math.min(rows.length - 1, Math.max(0, at + (e.key === "j" ? 1 : -1)))].focus();
      }
    }
  });

  dropPlain(doc);
  connect();
  tick();
  rollout();
  setInterval(tick, 1000);
})();
