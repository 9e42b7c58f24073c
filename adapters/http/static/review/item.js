// The item: who and when, the claim, the course and the risks, what they rest on, the timeline.

import { el } from "./dom.js";
import { course, movement, unitAfter } from "./chart.js";
import { heading, origin, source } from "./facts.js";
import { warningsOf } from "./notices.js";
import { plansPanel } from "./plans.js";
import { similarPanel } from "./similar.js";
import { timelinePanel } from "./timeline.js";
import { because, before, count, dashed, day, isByHours, measure, moment, percent, percentRange, plural, who } from "./words.js";

export function itemPanel(state, act) {
  if (state.itemError) {
    return el("div", { class: "panel empty" }, el("p", {}, state.itemError),
      el("button", { type: "button", onclick: act.reload }, "Try again"));
  }
  if (!state.chosen) return el("div", { class: "panel empty" }, el("p", {}, "Choose a patient from the worklist."));
  const { item } = state;
  if (!item) {
    return el("div", { "aria-busy": "true", "aria-label": "Loading the patient" },
      el("div", { class: "skeleton title" }), el("div", { class: "skeleton chart" }), el("div", { class: "skeleton" }));
  }
  return [
    head(item, state, act),
    banner(item),
    warningsOf(item, act),
    item.withheld ? withheldPanel(item.withheld) : answer(item, state, act),
    el("div", { class: "pair" }, evidencePanel(item), !item.withheld && item.trajectory && latentPanel(item.trajectory)),
    timelinePanel(state, act.days),
    plansPanel(item),
    similarPanel(item),
  ];
}

const windows = (item) => {
  const first = item.risks[0] ?? item.quantities[0];
  return first ? first.estimates.map((estimate) => estimate.horizon) : [];
};

function head(item, state, act) {
  return el(
    "div",
    { class: "item-head" },
    el("div", {},
      el("h1", { tabindex: "-1", id: "item-title" }, who(item.patient)),
      el("p", { class: "known" },
        "Known up to ", el("strong", {}, moment(item.as_of)), ` · ${plural(item.num_events, "event")}`),
      windows(item).length === 1 && el("p", { class: "known" }, "Horizon ", el("strong", {}, dashed(windows(item)[0].label))),
      windows(item).length > 1 && el("p", { class: "known" }, "Horizon ",
        el("span", { class: "segments", role: "group", "aria-label": "Horizon" },
          windows(item).map((window) =>
            el("button", { type: "button", "aria-pressed": String(window.label === state.horizon), onclick: () => act.horizon(window.label) },
              dashed(window.label)))))),
    claimBar(item.review, act),
  );
}

function claimBar(review, act) {
  if (review.state === "signed" || review.state === "superseded" || review.state === "withdrawn") {
    return el("div", { class: "claim" }, el("strong", {}, review.state[0].toUpperCase() + review.state.slice(1)),
      review.closed_at && el("span", { class: "quiet" }, moment(review.closed_at)));
  }
  if (review.is_mine) {
    return el("div", { class: "claim" }, el("strong", {}, "Yours for ", el("span", { class: "lease" }, "–:––")),
      el("button", { type: "button", class: "link", onclick: act.claim }, "Extend"),
      el("button", { type: "button", class: "link", onclick: act.release }, "Release"));
  }
  if (review.held_by) {
    return el("div", { class: "claim" }, el("span", {}, "With ", el("strong", {}, review.held_by), " for ", el("span", { class: "lease" }, "–:––")));
  }
  return el("div", { class: "claim" }, el("button", { type: "button", class: "primary", onclick: act.claim }, "Claim"),
    el("span", { class: "quiet" }, "for 15 minutes"));
}

function banner(item) {
  if (item.review.state === "superseded") {
    return el("p", { class: "banner" }, "A newer prediction for this patient has taken the place of this one.");
  }
  if (item.review.state === "withdrawn" && !item.warnings.some((warning) => warning.kind === "recalled")) {
    return el("p", { class: "banner" }, "This prediction was withdrawn. Do not rely on it.");
  }
  return null;
}

const withheldPanel = (withheld) =>
  el("section", { class: "panel withheld", "aria-labelledby": "withheld-title" },
    el("h2", { id: "withheld-title" }, "Not enough to say"),
    el("p", { class: "withheld-why" }, `Nothing is foretold: ${because(withheld)}.`),
    withheld.detail && el("p", { class: "quiet" }, withheld.detail),
    el("p", { class: "quiet" }, "The timeline below shows what is known. You can still claim this item and say what you see."));

function answer(item, state, act) {
  const said = item.quantities.filter(isSaid);
  const chosen = said.find((quantity) => quantity.name === state.quantity) ?? said[0];
  return el("section", { class: "panel answer", "aria-label": "What the model says" },
    el("div", { class: "answer-chart" }, chosen
      ? [quantityHead(chosen), figure(chosen, item.as_of), notes(chosen), numbers(chosen), multiples(said, chosen, item.as_of, act)]
      : el("p", { class: "quiet" }, "No measured quantity is forecast for this patient."), silent(item)),
    el("div", { class: "answer-risks" }, risks(item, state.horizon), familiarity(item.familiarity)));
}

export const isSaid = (quantity) => quantity.estimates.some((estimate) => estimate.estimate !== null);

// What is forecast in no window at all, by reason: named, so that silence is never mistaken for calm.
function silent(item) {
  const reasons = grouped(item.quantities.filter((quantity) => !isSaid(quantity)), (quantity) => because(quantity.estimates[0].withheld));
  return [...reasons].map(([reason, quantities]) =>
    el("p", { class: "quiet silent" }, `Withheld, ${reason}: ${quantities.map((quantity) => quantity.label).join(", ")}.`));
}

function grouped(things, key) {
  const groups = new Map();
  for (const thing of things) groups.set(key(thing), [...(groups.get(key(thing)) ?? []), thing]);
  return groups;
}

const quantityHead = (quantity) =>
  el("div", { class: "panel-head" },
    el("h2", {}, `${quantity.label} `, el("small", {}, `${unitAfter(quantity).trim()} · expected course under usual care`)),
    el("div", { class: "legend", "aria-hidden": "true" },
      el("span", {}, el("i", { class: "key measured" }), "measured"),
      el("span", {}, el("i", { class: "key forecast" }), "forecast, 50 and 90 %")));

const figure = (quantity, asOf) => course(quantity, asOf, { width: 760, height: 250, detailed: true });

function notes(quantity) {
  const said = [];
  if (!quantity.measured.length) said.push("not measured in this unit so far");
  if (quantity.num_older) said.push(`${plural(quantity.num_older, "older measurement")} not drawn`);
  if (quantity.num_in_other_units) said.push(`${plural(quantity.num_in_other_units, "measurement")} in another unit, as a bound of a range or without a time not drawn`);
  for (const [reason, estimates] of grouped(quantity.estimates.filter((e) => e.withheld), (e) => because(e.withheld))) {
    said.push(`${estimates.map((e) => dashed(e.horizon.label)).join(", ")} withheld: ${reason}`);
  }
  return said.length > 0 && el("p", { class: "quiet" }, `${said.join(" · ")}.`);
}

const numbers = (quantity) =>
  el("details", { class: "numbers" }, el("summary", {}, "The forecast in numbers"),
    el("table", {},
      el("thead", {}, el("tr", {}, ["window", "median", "50 %", "90 %"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, quantity.estimates.map((estimate) =>
        el("tr", {},
          el("th", { scope: "row" }, dashed(estimate.horizon.label)),
          estimate.estimate === null
            ? el("td", { colspan: 3 }, `withheld: ${because(estimate.withheld)}`)
            : [el("td", {}, measure(estimate.estimate)), ...[0.5, 0.9].map((level) => el("td", {}, between(estimate, level)))])))));

function between(estimate, level) {
  const interval = estimate.intervals.find((i) => Math.abs(i.level - level) < 0.005);
  return interval ? `${measure(interval.low)} to ${measure(interval.high)}` : "–";
}

function multiples(said, chosen, asOf, act) {
  if (said.length < 2) return null;
  return el("div", { class: "multiples", role: "group", "aria-label": "Quantities" },
    said.map((quantity) =>
      el("button", { type: "button", class: "multiple", "aria-pressed": String(quantity === chosen), onclick: () => act.quantity(quantity.name) },
        course(quantity, asOf, { width: 180, height: 84, detailed: false }),
        el("span", { class: "multiple-name" }, quantity.label, " ", el("small", {}, unitAfter(quantity).trim())))));
}

function risks(item, horizon) {
  const at = (risk) => risk.estimates.find((estimate) => estimate.horizon.label === horizon) ?? risk.estimates[0];
  const ordered = [...item.risks].sort((a, b) => (at(b).estimate ?? -1) - (at(a).estimate ?? -1));
  if (!ordered.length) return el("p", { class: "quiet" }, "No risk is read out.");
  const [first, ...others] = ordered;
  return [
    el("h2", {}, `${first.label} `, el("small", {}, dashed(at(first).horizon.label))),
    headline(first, at(first)),
    others.length > 0 && el("ul", { class: "other-risks" }, others.map((risk) => otherRisk(risk, at(risk)))),
  ];
}

function headline(risk, estimate) {
  if (estimate.estimate === null) {
    return [el("p", { class: "big quiet" }, "Withheld"), el("p", {}, `${because(estimate.withheld)[0].toUpperCase()}${because(estimate.withheld).slice(1)}.`)];
  }
  const interval = estimate.intervals.at(-1);
  return [
    el("p", { class: "big" }, percent(estimate.estimate)),
    el("p", { class: "quiet", title: "How far the model's heads, each fitted on other patients, agree after calibration; not how far a single patient may differ." },
      `${percent(interval.level)} range of the model’s heads ${percentRange(interval.low, interval.high)}`),
    sentence(risk, estimate.reliability),
  ];
}

const sentence = (risk, fitted) =>
  fitted
    ? el("p", { class: "sentence" }, "Of 100 patients scored like this one, ", el("strong", {}, String(Math.round(fitted.observed * 100))),
        ` had it (n = ${count(fitted.count)}).`)
    : el("p", { class: "sentence" }, "How often patients scored like this one had it is not known.");

const otherRisk = (risk, estimate) =>
  el("li", {}, el("span", {}, risk.label),
    estimate.estimate === null
      ? el("em", { title: because(estimate.withheld) }, "withheld")
      : [el("strong", {}, percent(estimate.estimate)),
         el("small", {}, percentRange(estimate.intervals.at(-1).low, estimate.intervals.at(-1).high)),
         estimate.reliability && el("small", { class: "of-such" },
           `${Math.round(estimate.reliability.observed * 100)} of 100 such had it, n = ${count(estimate.reliability.count)}`)]);

function familiarity(known) {
  const unseen = `${percent(known.unseen_code_share)} of codes unseen.`;
  if (known.distance === null) return el("p", { class: "familiar" }, `How familiar this patient is, is not known. ${unseen}`);
  const isNear = known.distance < 0.75;
  const name = known.distance > 1 ? "Unfamiliar patient" : isNear ? "Familiar patient" : "Less familiar patient";
  return el("p", { class: isNear ? "familiar near" : "familiar" }, `${name}: distance ${known.distance.toFixed(2)} of the limit. ${unseen}`);
}

const isOfHours = (item) =>
  isByHours(item.quantities.flatMap((quantity) => quantity.estimates.map((estimate) => estimate.horizon.end_hours)));

function evidencePanel(item) {
  const when = (fact) => (isOfHours(item) ? before(fact.known_at, item.as_of) : day(fact.known_at));
  const labels = new Map([...item.risks, ...item.quantities].map((course) => [course.name, course.label]));
  return el("section", { class: "panel", "aria-labelledby": "evidence-title" },
    el("h2", { id: "evidence-title" }, "What this rests on ", el("small", {}, "the facts that the answer leans on; each opens its source")),
    item.evidence.length
      ? el("ul", { class: "evidence" }, item.evidence.map(({ fact, supports }) =>
          el("li", {}, el("details", {},
            el("summary", {},
              el("span", { class: "evidence-fact" }, heading(fact), " ", origin(fact)),
              el("span", { class: "quiet" }, when(fact))),
            el("p", { class: "quiet" }, `Supports: ${supports.map((name) => labels.get(name) ?? name).join(", ")}`),
            source(fact)))))
      : el("p", { class: "quiet" }, item.withheld ? "Nothing is said, so nothing is leaned on." : "The model names no single fact."));
}

const latentPanel = (trajectory) =>
  el("section", { class: "panel", "aria-labelledby": "latent-title" },
    el("h2", { id: "latent-title" }, "Course in the model’s own space ",
      el("small", {}, `${trajectory.width} numbers per window`)),
    movement(trajectory.steps, { width: 420, height: 150 }),
    el("p", { class: "quiet" },
      "How far each predicted window lies from the first (root mean square); the bar is how far the predictor heads disagree. A distance has no direction: it is not better or worse."));
