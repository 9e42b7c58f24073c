// Similar patients: numbers about a group, asked for only when wanted.

import * as api from "./api.js";
import { el, put } from "./dom.js";
import { dashed, percent, percentRange, plural } from "./words.js";

let held = { id: null }; // the answer for the review last asked about; null while it is awaited
let here = {}; // where the item was drawn last: it may be drawn again meanwhile

export function similarPanel(item) {
  const id = item.review.review_id;
  const place = el("div", { class: "similar", "aria-live": "polite" });
  here = { id, place };
  if (held.id === id) show(place, held.answer);
  else put(place, el("button", { type: "button", onclick: () => ask(id) }, "Show similar patients"));
  return el("section", { class: "panel", "aria-labelledby": "similar-title" },
    el("h2", { id: "similar-title" }, "Similar patients ",
      el("small", {}, "what happened among similar patients on record, not a forecast")),
    place);
}

async function ask(id) {
  held = { id, answer: null };
  show(here.place);
  try {
    const answer = await api.similar(id);
    if (held.id === id) held.answer = answer;
    if (here.id === id) show(here.place, answer);
  } catch (error) {
    held = { id: null };
    if (here.id === id) put(here.place, el("p", { class: "quiet" }, error.message));
  }
}

function show(place, answer) {
  if (!answer) return put(place, el("div", { class: "skeleton", "aria-busy": "true", "aria-label": "Looking for similar patients" }));
  if (answer.untold) return put(place, el("p", { class: "quiet" }, nobody(answer)));
  put(place,
    el("p", {}, el("strong", {}, plural(answer.num_patients, "patient")), ` of this site, ${nearness(answer)}. ${answer.wording}`),
    isFar(answer) && el("p", {}, "They are hardly nearer than patients of this site usually are: read this as what happened at the site, not as what happens to patients like this one."),
    el("table", { class: "similar-ages" },
      el("caption", {}, "Age at that moment"),
      el("thead", {}, el("tr", {}, answer.ages.map((band) => el("th", { scope: "col" }, dashed(band.label))))),
      el("tbody", {}, el("tr", {}, answer.ages.map((band) => el("td", {}, band.count ?? "few"))))),
    el("table", { class: "similar-outcomes" },
      el("caption", {}, "What happened afterwards"),
      el("thead", {}, el("tr", {}, ["What", "Within", "Share (95 % interval)", "Followed"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, answer.outcomes.map((outcome) => row(outcome, answer)))),
    el("p", { class: "quiet" },
      `Counts below ${answer.smallest_cell} are not shown, nor any group below ${answer.smallest_group}. Only patients whose record reaches the end of a window are counted in it.`));
}

const row = (outcome, answer) =>
  el("tr", {},
    el("th", { scope: "row" }, outcome.name),
    el("td", {}, dashed(outcome.horizon.label)),
    el("td", {}, outcome.untold ? untold(outcome, answer) : `${percent(outcome.share)} (${percentRange(outcome.low, outcome.high)})`),
    el("td", {}, outcome.num_followed ?? "too few"));

function untold(outcome, answer) {
  if (outcome.untold === "few_had_it") return `fewer than ${answer.smallest_cell} patients`;
  if (outcome.untold === "few_were_spared") return `all but fewer than ${answer.smallest_cell} patients`;
  return "too few were followed so far";
}

const nobody = (answer) =>
  answer.untold === "no_state"
    ? "Nothing is said of this patient, so there is nothing to compare."
    : `Not enough similar patients: at least ${answer.smallest_group} with a record afterwards are needed.`;

// On a small record the nearest are simply everyone.
const isFar = (answer) => answer.typical_distance > 0 && answer.median_distance > 0.9 * answer.typical_distance;

function nearness(answer) {
  if (!answer.typical_distance) return "as near as can be";
  const ratio = answer.median_distance / answer.typical_distance;
  return `their median distance is ${ratio.toFixed(2)} of the usual distance between patients (${answer.median_distance.toFixed(2)} of ${answer.typical_distance.toFixed(2)})`;
}
