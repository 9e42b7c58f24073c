// What must be known before relying on a prediction: stopped models, recalls, another look.

import { el, put } from "./dom.js";
import { CONCERNS, count, moment, plural, short } from "./words.js";

const place = document.getElementById("notices");

// The banner over the page; touched only when it says something else, to be read out once.
export function showNotices(notices) {
  const stopped = notices?.stopped ?? [];
  const waiting = notices?.num_predictions_held_up ?? 0;
  put(place,
    stopped.map((model) =>
      el("p", { class: "banner stop", role: "alert" },
        el("strong", {}, `Model ${model.name} ${model.version} is stopped`),
        ` since ${moment(model.at)}, ${why(model)}. It answers no more; what it said before is marked.`,
        el("span", { class: "quiet" }, ` ${short(model.manifest_digest)} · stopped by ${model.by}`))),
    waiting > 0 && el("p", { class: "banner waits", role: "status" },
      `${plural(waiting, "prediction")} ${waiting === 1 ? "waits" : "wait"} until a model may answer: it was stopped, or two people have not promoted it.`));
}

const why = (warning) => `${CONCERNS[warning.concern] ?? warning.concern}${warning.note ? `: “${warning.note}”` : ""}`;

const STALE = {
  withdrawn: "what it read was withdrawn", corrected: "what it read was corrected",
  patient_deleted: "the patient was deleted", merged: "the patient was merged into another",
  separated: "it read what is another person’s",
};

const SENTENCES = {
  model_stopped: (w) => ["The model that said this is stopped", ` since ${moment(w.at)}, ${why(w)}. You can still claim and sign; weigh what you see yourself.`],
  recalled: (w) => [w.recalled === "input" ? "A record that this rests on was recalled" : "What this model said was recalled", `, ${moment(w.at)}, ${why(w)}. Do not rely on it.`],
  stale: (w) => ["Out of date", ` since ${moment(w.at)}: ${STALE[w.note]}. Do not rely on it; it is asked again.`],
  needs_another_look: (w) => ["Needs another look", `: it was signed before ${moment(w.at)}. What was signed stays as it is.`],
  looked_again: (w) => [`${w.by} has looked again`, `, ${moment(w.at)}.`],
};

export function warningsOf(item, act) {
  return item.warnings.map((warning) => {
    const [first, rest] = SENTENCES[warning.kind](warning);
    const isWaiting = warning.kind === "needs_another_look";
    const isCalm = warning.kind === "looked_again";
    return el("div", { class: `banner ${warning.kind}${isCalm ? "" : " stop"}`, role: isCalm ? "status" : "alert" },
      el("p", {}, el("strong", {}, first), rest),
      isWaiting && el("button", { type: "button", onclick: act.lookAgain }, "I have looked again"));
  });
}

const TAGS = { model_stopped: "model stopped", recalled: "recalled", stale: "out of date", needs_another_look: "look again" };

// One word in the worklist: the gravest thing that is still open.
export function tagOf(line) {
  const kinds = line.warnings.map((warning) => warning.kind);
  const gravest = ["needs_another_look", "recalled", "stale", "model_stopped"].find((kind) => kinds.includes(kind));
  return gravest && el("em", { class: "caution" }, TAGS[gravest]);
}

export const relookChip = (notices) => (notices?.num_to_look_at ? ` ${count(notices.num_to_look_at)}` : "");
