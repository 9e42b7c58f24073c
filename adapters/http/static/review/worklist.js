// The worklist: who waits, for what, how likely, for how long.

import { el, svg } from "./dom.js";
import { now } from "./api.js";
import { relookChip, tagOf } from "./notices.js";
import { ago, because, count, dashed, percent, plural, who } from "./words.js";

export const FILTERS = [
  ["open", "open", "state=queued&state=claimed"],
  ["mine", "mine", "mine=true&state=claimed"],
  ["abstained", "abstained", "abstained=true"],
  ["signed", "signed", "state=signed"],
  ["relook", "look again", "relook=true&state=signed"],
];

const EMPTY = {
  open: "Nobody waits. New predictions appear here by themselves.",
  mine: "You hold no review. Open one and press c to claim it.",
  abstained: "The model has answered every open question.",
  signed: "Nothing is signed yet.",
  relook: "No signed review needs another look.",
};

export function worklistPanel(state, act) {
  return el(
    "nav",
    { class: "worklist", "aria-labelledby": "worklist-title" },
    el("h2", { id: "worklist-title" }, "Worklist ",
      state.lines && el("small", {}, `${count(state.lines.length)} of ${count(state.total)}`)),
    el("div", { class: "chips", role: "group", "aria-label": "Show" },
      FILTERS.map(([key, text]) =>
        el("button", { type: "button", class: "chip", "aria-pressed": String(state.filter === key), onclick: () => act.filter(key) }, text, key === "relook" && relookChip(state.notices)))),
    body(state, act),
    el("p", { class: "keys" }, "j / k move · c claim · e extend · 1–4 decide · ? keys"),
  );
}

function body(state, act) {
  if (state.listError) {
    return el("div", { class: "panel empty" }, el("p", {}, state.listError),
      el("button", { type: "button", onclick: act.refresh }, "Try again"));
  }
  if (!state.lines) {
    return el("div", { class: "panel", "aria-busy": "true", "aria-label": "Loading the worklist" },
      [1, 2, 3, 4].map(() => el("div", { class: "skeleton row" })));
  }
  if (!state.lines.length) return el("div", { class: "panel empty" }, el("p", {}, EMPTY[state.filter]));
  return [
    el("ul", { class: "panel lines" }, state.lines.map((line) => el("li", {}, row(line, state, act)))),
    state.cursor && el("button", { type: "button", class: "more", onclick: act.more },
      `Show more of the ${plural(state.total, "review")}`),
  ];
}

function row(line, state, act) {
  const { review } = line;
  const isChosen = review.review_id === state.chosen;
  return el(
    "a",
    { class: "line", href: `#review=${review.review_id}`, "aria-current": isChosen ? "true" : undefined,
      "data-review": review.review_id, onclick: (event) => { event.preventDefault(); act.open(review.review_id); } },
    el("span", { class: "line-who" }, who(line.patient, { brief: true })),
    el("span", { class: "line-what" },
      line.headline ?? "No risk is read out", el("small", {}, [standing(review), line.horizon && dashed(line.horizon.label)].filter(Boolean).join(" · ")), tagOf(line)),
    line.estimate === null
      ? el("em", { class: "line-withheld", title: line.withheld ? because(line.withheld) : "" }, "withheld")
      : meter(line.estimate),
    el("span", { class: "line-number" }, line.estimate === null ? "—" : percent(line.estimate)),
    el("span", { class: "line-age", title: "waiting since it was opened" }, review.closed_at ? "" : ago(review.opened_at, now())),
  );
}

export function standing(review) {
  if (review.state === "claimed") return review.is_mine ? "yours" : review.held_by ? `with ${review.held_by}` : "queued again";
  return review.state;
}

const meter = (p) =>
  svg("svg", { class: "meter", viewBox: "0 0 64 8", "aria-hidden": "true" },
    svg("rect", { class: "meter-back", x: 0, y: 2, width: 64, height: 4, rx: 2 }),
    svg("rect", { class: "meter-fill", x: 0, y: 2, width: Math.max(64 * p, 2), height: 4, rx: 2 }));
