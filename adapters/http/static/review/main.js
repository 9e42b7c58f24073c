// The page: what it knows, what it asks for, and what each key does.

import * as api from "./api.js";
import { decidePanel } from "./decide.js";
import { el, put } from "./dom.js";
import { itemPanel } from "./item.js";
import { showNotices } from "./notices.js";
import { VERDICTS, clock, count, refusal, unit } from "./words.js";
import { FILTERS, worklistPanel } from "./worklist.js";

const DAYS = 1826;
const POLL_MS = 20_000, NOTICES_MS = 3_000, WARN_MS = 60_000, PAGE_SIZE = 50;
const page = document.getElementById("page"), alarm = document.getElementById("alarm"), status = document.getElementById("status");

const fresh = () => ({ verdict: null, reasons: new Set(), note: "" });
const state = {
  session: null, filter: "open", lines: null, total: 0, cursor: null, listError: "",
  chosen: null, item: null, itemError: "", timeline: null, timelineError: "", shortRecord: undefined, history: null, days: DAYS,
  quantity: null, horizon: null, draft: fresh(), head: null, isBusy: false, notices: null,
};
const regions = { list: el("div", { class: "left" }), item: el("div", { id: "item", class: "middle" }), side: el("aside", { class: "right", "aria-label": "Decision and proof" }) };

const draw = {
  list: () => keepFocus(regions.list, () => put(regions.list, worklistPanel(state, act))),
  item: () => keepFocus(regions.item, () => { put(regions.item, itemPanel(state, act)); tick(); }),
  side: () => keepFocus(regions.side, () => put(regions.side, decidePanel(state, act))),
};

// A redrawn region gives the focus back to the control that had it, found by its place among its kind.
function keepFocus(region, redraw) {
  const had = region.contains(document.activeElement) ? document.activeElement : null;
  const focusable = () => [...region.querySelectorAll("a, button, input, textarea, summary, [tabindex='0']")];
  const at = had ? focusable().indexOf(had) : -1;
  const caret = had?.tagName === "TEXTAREA" ? had.selectionStart : null;
  redraw();
  const next = focusable()[at];
  if (!next) return;
  next.focus({ preventScroll: true });
  if (caret !== null && next.tagName === "TEXTAREA") next.setSelectionRange(caret, caret);
}

function say(text, kind = "") {
  put(alarm, text && el("p", { class: `toast ${kind}` }, text, el("button", { type: "button", class: "link", onclick: () => say("") }, "Close")));
}

async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
    if (error.status === 401) return showSignIn("Your session has ended. Sign in again.");
    say(refusal(error), "bad");
    if (error.status === 409 || error.status === 412) await loadItem();
    return null;
  }
}

// --- what is loaded

async function loadList({ more = false } = {}) {
  const filter = FILTERS.find(([key]) => key === state.filter)[2];
  const after = more && state.cursor ? `&cursor=${encodeURIComponent(state.cursor)}` : "";
  const wanted = more ? PAGE_SIZE : Math.min(Math.max(state.lines?.length ?? 0, PAGE_SIZE), 100);
  try {
    const answer = await api.worklist(`${filter}&limit=${wanted}${after}`);
    state.lines = more ? [...state.lines, ...answer.reviews] : answer.reviews;
    Object.assign(state, { total: answer.total, cursor: answer.next_cursor, listError: "" });
  } catch (error) {
    if (error.status === 401) return showSignIn("Your session has ended. Sign in again.");
    state.listError = refusal(error);
  }
  draw.list();
}

async function loadItem() {
  const id = state.chosen;
  try {
    const item = await api.item(id);
    if (id !== state.chosen) return;
    state.item = item;
    state.itemError = "";
    chooseDefaults(item);
  } catch (error) {
    if (error.status === 401) return showSignIn("Your session has ended. Sign in again.");
    state.itemError = refusal(error);
  }
  draw.item();
  draw.side();
  await Promise.all([loadHistory(), state.timeline ? null : loadTimeline()]);
}

// The window and the quantity on which the answer is most worth reading: the highest risk said, and
// the quantity with the most to see.
function chooseDefaults(item) {
  const said = item.risks.flatMap((risk) => risk.estimates).filter((estimate) => estimate.estimate !== null);
  const labels = [...item.risks, ...item.quantities].flatMap((course) => course.estimates.map((estimate) => estimate.horizon.label));
  if (!labels.includes(state.horizon)) {
    state.horizon = said.sort((a, b) => b.estimate - a.estimate)[0]?.horizon.label ?? labels[0] ?? null;
  }
  if (!item.quantities.some((quantity) => quantity.name === state.quantity)) {
    const worth = (quantity) =>
      Math.min(quantity.measured.length, 12) + 8 * quantity.estimates.filter((e) => e.estimate !== null).length + (unit(quantity.unit) ? 6 : 0);
    state.quantity = [...item.quantities].sort((a, b) => worth(b) - worth(a))[0]?.name ?? null;
  }
}

async function loadTimeline() {
  const id = state.chosen, days = state.days;
  try {
    const timeline = await api.timeline(id, days);
    if (id !== state.chosen || days !== state.days) return;
    Object.assign(state, { timeline, timelineError: "" });
  } catch (error) {
    state.timelineError = refusal(error);
  }
  draw.item();
}

async function loadHistory() {
  const id = state.chosen;
  const [history, head] = await Promise.all([api.history(id), api.head()]).catch(() => [null, null]);
  if (id !== state.chosen) return;
  Object.assign(state, { history, head: head ?? state.head });
  draw.side();
  showStatus();
}

// A stop or a recall must be on the screen within seconds, also over what is open already.
async function loadNotices() {
  const notices = await api.notices().catch(() => null);
  if (!notices || !state.session) return;
  const before = state.notices;
  state.notices = notices;
  if (JSON.stringify(notices) !== JSON.stringify(before)) { showNotices(notices); showStatus(); }
  if (before && before.stamp !== notices.stamp) await Promise.all([loadList(), state.item && loadItem()]);
}

async function showStatus() {
  const ready = await api.readiness().catch(() => null);
  put(status,
    ready
      ? el("span", { class: `pill ${ready.model.is_well && !isStopped(ready) ? "well" : "bad"}` },
          ready.model.is_well ? `model ${ready.model.detail} · ${isStopped(ready) ? "stopped" : "ready"}` : "model away · predictions wait")
      : el("span", { class: "pill bad" }, "service not reachable"),
    state.head && el("span", { class: "pill" }, `audit head ${count(state.head.size)}`),
    state.session && el("span", { class: "pill who" }, state.session.display_name, el("button", { type: "button", class: "link", onclick: act.leave }, "Sign out")));
}

const isStopped = (ready) => (state.notices?.stopped ?? []).some((model) => `${model.name} ${model.version}` === ready.model.detail);

// --- what can be done

const act = {
  filter: (key) => { Object.assign(state, { filter: key, lines: null, cursor: null }); draw.list(); return loadList(); },
  refresh: () => loadList(),
  more: () => loadList({ more: true }),
  reload: () => loadItem(),
  open: async (id) => {
    if (state.shortRecord) state.days = DAYS; // a range of hours would hide years of the next record
    Object.assign(state, { chosen: id, item: null, itemError: "", timeline: null, shortRecord: undefined, history: null, quantity: null, horizon: null, draft: fresh() });
    location.hash = `review=${id}`;
    draw.list(); draw.item(); draw.side();
    await loadItem();
  },
  horizon: (label) => { state.horizon = label; draw.item(); },
  quantity: (name) => { state.quantity = name; draw.item(); },
  days: (days) => { Object.assign(state, { days, timeline: null }); draw.item(); return loadTimeline(); },
  claim: () => changed("claim"),
  release: () => changed("release"),
  verdict: (key) => { state.draft.verdict = key; draw.side(); },
  reason: (key, isOn) => (isOn ? state.draft.reasons.add(key) : state.draft.reasons.delete(key)),
  note: (text) => { state.draft.note = text; },
  sign: async () => {
    const { verdict, reasons, note } = state.draft;
    if (!verdict || state.isBusy) return;
    await changed("sign", { verdict, reasons: [...reasons], note });
  },
  lookAgain: async () => {
    if ((await attempt(() => api.lookAgain(state.chosen))) === null) return;
    await Promise.all([loadItem(), loadNotices()]);
    say("Noted that you have looked again.", "good");
  },
  leave: async () => { await attempt(api.signOut); showSignIn(""); },
};

async function changed(verb, body) {
  if (!state.item || state.isBusy) return;
  state.isBusy = true;
  const done = await attempt(() => api.move(state.item.review, verb, body));
  state.isBusy = false;
  if (done === null || done === undefined) return;
  say("");
  if (verb === "sign") say("Signed.", "good");
  else state.item = { ...state.item, review: done };
  if (verb === "sign") await loadItem();
  else { draw.item(); draw.side(); await loadHistory(); }
  await loadList();
}

// --- keys and clocks

const KEYS = {
  j: () => step(1), k: () => step(-1),
  c: () => canClaim() && act.claim(), e: () => state.item?.review.is_mine && act.claim(),
  "?": () => document.getElementById("help").showModal(),
};

const canClaim = () => state.item && !state.item.review.held_by && !state.item.review.closed_at;

function step(by) {
  if (!state.lines?.length) return;
  const at = state.lines.findIndex((line) => line.review.review_id === state.chosen);
  const next = state.lines[Math.min(Math.max(at + by, 0), state.lines.length - 1)];
  if (next.review.review_id !== state.chosen) act.open(next.review.review_id);
}

document.addEventListener("keydown", (event) => {
  if (!state.session || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input[type=text], input[type=password], textarea, dialog")) return;
  const verdict = VERDICTS[Number(event.key) - 1];
  if (verdict && state.item?.review.is_mine) { event.preventDefault(); act.verdict(verdict[0]); return; }
  if (KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
});

let warnedFor = "";

function tick() {
  const review = state.item?.review;
  if (!review?.held_until) return;
  const left = Date.parse(review.held_until) - api.now();
  for (const place of document.querySelectorAll(".lease")) put(place, clock(left));
  if (review.is_mine && left <= WARN_MS && left > 0 && warnedFor !== review.held_until) {
    warnedFor = review.held_until;
    say("Your claim ends within a minute. Press e to keep it.", "bad");
  }
  if (left <= 0) { state.item = { ...state.item, review: { ...review, held_by: null, held_until: null, is_mine: false } }; draw.item(); draw.side(); }
}

setInterval(tick, 1000);
setInterval(() => { if (state.session && !document.hidden) { loadList(); showStatus(); } }, POLL_MS);
setInterval(() => { if (state.session && !document.hidden) loadNotices(); }, NOTICES_MS);

// --- signing in

function showSignIn(why) {
  Object.assign(state, { session: null, chosen: null, item: null, lines: null, timeline: null, history: null, head: null, draft: fresh(), notices: null });
  showNotices(null);
  say("");
  const failure = el("p", { class: "failure", role: "alert" }, why);
  const name = el("input", { type: "text", id: "name", name: "name", autocomplete: "username", required: true, maxlength: 200 });
  const password = el("input", { type: "password", id: "password", name: "password", autocomplete: "current-password", required: true, maxlength: 1000 });
  const button = el("button", { type: "submit", class: "primary wide" }, "Sign in");
  const enter = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      state.session = await api.signIn(name.value, password.value);
      await start();
    } catch (error) {
      put(failure, error instanceof api.ApiError ? error.message : "Something went wrong.");
      password.value = "";
      password.focus();
    }
    button.disabled = false;
  };
  put(page, el("form", { class: "panel sign-in", "aria-labelledby": "sign-in-title", onsubmit: enter },
    el("h1", { id: "sign-in-title" }, "Sign in"), el("p", { class: "quiet" }, "To review predictions. What you open and decide is kept in the audit log."),
    el("label", { for: "name" }, "Name"), name, el("label", { for: "password" }, "Password"), password, failure, button));
  page.className = "";
  name.focus();
  showStatus();
}

const help = el("dialog", { id: "help", "aria-labelledby": "help-title" },
  el("h2", { id: "help-title" }, "Keys"),
  el("dl", {}, [["j / k", "next, previous review"], ["c", "claim"], ["e", "extend the claim"], ["1 – 4", "verdict"], ["← →", "along a lane of the timeline"], ["?", "this list"]]
    .map(([key, text]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)])),
  el("form", { method: "dialog" }, el("button", { class: "primary" }, "Close")));

async function start() {
  page.className = "desk";
  put(page, regions.list, regions.item, regions.side, help);
  draw.list(); draw.item(); draw.side();
  showStatus();
  await Promise.all([loadList(), loadNotices()]);
  const linked = new URLSearchParams(location.hash.slice(1)).get("review") ?? state.lines?.[0]?.review.review_id;
  if (linked && state.session) await act.open(linked);
}

window.addEventListener("hashchange", () => {
  const linked = new URLSearchParams(location.hash.slice(1)).get("review");
  if (state.session && linked && linked !== state.chosen) act.open(linked);
});

state.session = await api.whoami().catch(() => null);
if (state.session) await start();
else showSignIn("");
