// Comparing plans: what is picked from the library, and the options as the model ranks them. The panel
// keeps what was picked. Nothing is asked before it is opened.

import * as api from "./api.js";
import { el, put, svg } from "./dom.js";
import { unitAfter } from "./chart.js";
import { because, count, dashed, measure, moment, percent, percentRange, plural, refusal } from "./words.js";

const MAX_DECISIONS = 6;
const PARTS = { goals: "goals missed", risks: "risks", burden: "burden of treatment", disagreement: "disagreement of the heads", behaviour: "unusual among similar patients" };
const CONSTRAINTS = {
  allergy_on_record: "allergy on record", stated_interaction: "interaction", dose_limit: "dose limit",
  repeated_action: "the same twice", contradictory_actions: "contradiction", support_unknown: "how usual it is, is not known",
};

const shelf = { library: null, error: "", isAsked: false };
const desks = new Map(); // by review: what was picked, and what was answered

function deskOf(id) {
  if (!desks.has(id)) desks.set(id, { id, isOpen: false, picked: new Map(), goals: new Set(), risks: new Set(), answers: null, error: "", isBusy: false });
  return desks.get(id);
}

export function plansPanel(item) {
  const desk = deskOf(item.review.review_id);
  const place = el("div", { class: "plans-body" });
  const draw = () => redrawn(place, desk, draw);
  const panel = el("details", { class: "panel plans", open: desk.isOpen, ontoggle: () => opened(panel, desk, draw) },
    el("summary", {}, el("h2", {}, "Compare plans ", el("small", {}, "what similar patients’ courses were like under each"))), place);
  if (desk.isOpen) draw();
  return panel;
}

async function opened(panel, desk, draw) {
  desk.isOpen = panel.open;
  if (!panel.open) return;
  draw();
  await Promise.all([loadLibrary(), loadAnswers(desk)]);
  draw();
}

async function loadLibrary() {
  if (shelf.library || shelf.isAsked) return;
  shelf.isAsked = true;
  try {
    Object.assign(shelf, { library: await api.planLibrary(), error: "" });
  } catch (error) {
    shelf.error = refusal(error);
  }
  shelf.isAsked = false;
}

async function loadAnswers(desk) {
  if (desk.answers) return;
  try {
    desk.answers = (await api.planComparisons(desk.id)).comparisons;
  } catch (error) {
    desk.error = refusal(error);
  }
}

async function compare(desk, draw) {
  Object.assign(desk, { isBusy: true, error: "" });
  draw();
  const decisions = [...desk.picked].map(([name, choices]) => ({ name, choices: [...choices] }));
  try {
    const answer = await api.comparePlans(desk.id, { decisions, goals: [...desk.goals], risks: [...desk.risks] });
    desk.answers = [answer, ...(desk.answers ?? [])];
  } catch (error) {
    desk.error = error.problem?.detail || refusal(error);
  }
  desk.isBusy = false;
  draw();
}

// The control that had the focus keeps it: it is found again by its name.
function redrawn(place, desk, draw) {
  const had = place.contains(document.activeElement) ? document.activeElement.id : "";
  put(place, shelf.library ? [picker(desk, draw), answers(desk)] : el("p", { class: "quiet" }, shelf.error || "The care-plan library is being fetched …"));
  if (had) document.getElementById(had)?.focus({ preventScroll: true });
}

// --- what is picked

function picker(desk, draw) {
  const { library } = shelf;
  const offered = library.decisions.filter((decision) => decision.choices.some((choice) => choice.is_plannable));
  if (!offered.length) {
    return el("p", {}, "The model that serves cannot say how usual any decision of the library is for patients like this one, so it ranks no plans.");
  }
  const isReady = desk.picked.size > 0 && desk.picked.size <= MAX_DECISIONS && desk.goals.size + desk.risks.size > 0;
  return el("form", { class: "plan-form", onsubmit: (event) => { event.preventDefault(); if (isReady && !desk.isBusy) compare(desk, draw); } },
    el("p", { class: "quiet" }, library.wording, " Each plan is read as all that is done; nothing is ordered."),
    el("fieldset", {}, el("legend", {}, `Decisions, up to ${MAX_DECISIONS}; no change is always compared too`),
      el("div", { class: "plan-picks" }, offered.map((decision) => decisionPick(decision, desk, draw)))),
    unknown(library),
    el("fieldset", {}, el("legend", {}, "What is wanted"),
      el("div", { class: "plan-picks" }, [
        library.goals.map((goal) => tick(`goal-${goal.name}`, goal.label, desk.goals, goal.name, draw)),
        library.risks.map((risk) => tick(`risk-${risk.replaceAll(" ", "-")}`, `${risk} should be rare`, desk.risks, risk, draw)),
      ])),
    el("div", { class: "plan-go" },
      el("button", { id: "plan-compare", type: "submit", class: "primary", disabled: !isReady || desk.isBusy }, desk.isBusy ? "Comparing …" : "Compare plans"),
      desk.picked.size > MAX_DECISIONS && el("span", { class: "quiet" }, `At most ${MAX_DECISIONS} decisions at once.`),
      el("span", { class: "plan-error", role: "status" }, desk.error)));
}

const decisionPick = (decision, desk, draw) =>
  el("div", { class: "plan-pick" }, el("p", {}, decision.label, " ", el("small", { class: "quiet" }, moments(decision.after_days))),
    decision.choices.filter((choice) => choice.is_plannable).map((choice) => {
      const chosen = desk.picked.get(decision.name);
      const id = `plan-${decision.name}-${choice.name}`;
      return el("label", { class: "plan-tick" },
        el("input", { id, type: "checkbox", checked: chosen?.has(choice.name) ?? false, onchange: (event) => { toggle(desk.picked, decision.name, choice.name, event.target.checked); draw(); } }),
        choice.label);
    }));

function toggle(picked, decision, choice, isOn) {
  const choices = picked.get(decision) ?? new Set();
  if (isOn) choices.add(choice); else choices.delete(choice);
  if (choices.size) picked.set(decision, choices); else picked.delete(decision);
}

const tick = (id, label, set, value, draw) =>
  el("label", { class: "plan-tick" },
    el("input", { id: `plan-${id}`, type: "checkbox", checked: set.has(value), onchange: (event) => { if (event.target.checked) set.add(value); else set.delete(value); draw(); } }),
    label);

const moments = (days) => days.map((n) => (n === 0 ? "now" : `${measure(n)} d`)).join(" · ");

function unknown(library) {
  const names = library.decisions.flatMap((decision) => decision.choices.filter((choice) => !choice.is_plannable).map((choice) => choice.label));
  return names.length > 0 && el("p", { class: "quiet" }, `Not offered, for too few patients tell the model how usual it is: ${names.join(", ")}.`);
}

// --- what was answered

function answers(desk) {
  if (!desk.answers?.length) return null;
  const [newest, ...older] = desk.answers;
  return el("section", { class: "plan-answer", "aria-label": "The comparison" },
    newest.withheld ? withheld(newest) : ranked(newest),
    left(newest),
    el("p", { class: "quiet" },
      `${plural(newest.num_considered, "plan")} considered for ${newest.asked_by}, ${moment(newest.made_at)}, as of ${moment(newest.as_of)}. Wanted: ${[...newest.goals, ...newest.risks.map((risk) => `${risk} rare`)].join(", ")}.`,
      !newest.withheld && " Intervals were calibrated under usual care.",
      older.length > 0 && ` ${plural(older.length, "earlier comparison")} of this review ${older.length === 1 ? "is" : "are"} kept.`));
}

const withheld = (answer) => [
  el("h3", {}, "Not enough to rank these plans"),
  el("p", {}, `${because(answer.withheld)[0].toUpperCase()}${because(answer.withheld).slice(1)}.`),
  el("p", { class: "quiet" }, `${answer.withheld.detail}.`),
];

function ranked(answer) {
  const widest = Math.max(...answer.options.map((option) => total(option)), 1e-9);
  return [
    el("h3", {}, "Options, by what the model expects ", el("small", { class: "quiet" }, "shorter is nearer to what is wanted")),
    el("p", { class: "quiet" }, answer.wording, " It is no effect of the plan: those treated so may differ in what is not on record."),
    el("ol", { class: "plan-options" }, answer.options.map((option) => optionItem(option, widest))),
    el("p", { class: "legend", "aria-hidden": "true" }, Object.entries(PARTS).map(([name, words]) => el("span", {}, el("i", { class: `key part-${name}` }), words))),
  ];
}

const total = (option) => option.parts.reduce((sum, part) => sum + Math.max(part.amount, 0), 0);

const optionItem = (option, widest) =>
  el("li", {},
    el("h4", {}, title(option)),
    bar(option, widest),
    el("p", { class: "plan-numbers" }, `Distance ${option.energy.toFixed(2)}: `, option.parts.map((part) => `${PARTS[part.name] ?? part.name} ${part.amount.toFixed(2)}`).join(" · ")),
    el("p", { class: "plan-support" }, support(option)),
    courses(option));

const title = (option) =>
  option.taken.length ? option.taken.map((taken) => `${taken.label} ${taken.after_days === 0 ? "now" : `after ${measure(taken.after_days)} days`}`).join("; ") : "No change: none of these decisions is taken";

function support(option) {
  const shares = option.support < 0.01 ? "fewer than 1" : String(Math.round(option.support * 100));
  return option.least_usual.startsWith("No change")
    ? `Support: of 100 similar patients, ${shares} went without (${option.least_usual.replace("No change: ", "")}).`
    : `Support: of 100 similar patients, ${shares} were treated so (${option.least_usual}).`;
}

function bar(option, widest) {
  const drawn = option.parts.filter((part) => part.amount > 0);
  let from = 0;
  return svg("svg", { class: "plan-bar", viewBox: "0 0 400 12", preserveAspectRatio: "none", role: "img", "aria-label": `Distance ${option.energy.toFixed(2)}` },
    drawn.map((part) => {
      const width = (400 * part.amount) / widest;
      const piece = svg("rect", { class: `part-${part.name}`, x: from, y: 0, width: Math.max(width - 1, 0.5), height: 12 }, svg("title", {}, `${PARTS[part.name] ?? part.name} ${part.amount.toFixed(2)}`));
      from += width;
      return piece;
    }));
}

const courses = (option) =>
  option.courses.length > 0 && el("details", { class: "numbers" }, el("summary", {}, "Expected course"),
    el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, ""), option.courses[0].estimates.map((estimate) => el("th", { scope: "col" }, dashed(estimate.horizon.label))))),
      el("tbody", {}, option.courses.map((course) =>
        el("tr", {}, el("th", { scope: "row" }, `${course.label}${unitAfter(course)}`), course.estimates.map((estimate) => el("td", {}, said(estimate))))))));

function said(estimate) {
  if (estimate.estimate === null) return el("em", { title: because(estimate.withheld) }, "withheld");
  const interval = estimate.intervals.at(-1);
  return estimate.kind === "probability"
    ? `${percent(estimate.estimate)} (${percentRange(interval.low, interval.high)})`
    : `${measure(estimate.estimate)} (${measure(interval.low)} to ${measure(interval.high)})`;
}

function left(answer) {
  const shown = new Map(answer.excluded.map((each) => [`${each.label}|${each.constraint}|${each.detail}`, each]));
  return shown.size > 0 && el("div", {}, el("p", {}, `Left out for this patient, ${count(shown.size)}:`),
    el("ul", { class: "plan-left" }, [...shown.values()].map((each) => el("li", {}, `${each.label}: ${CONSTRAINTS[each.constraint] ?? each.constraint} (${each.detail})`))));
}
