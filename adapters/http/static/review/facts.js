// One fact and where it came from: the record version that every mark and every number can be opened to.

import { el } from "./dom.js";
import { brief, moment, short } from "./words.js";

export const heading = (fact) => [
  el("span", { class: "fact-label" }, fact.label),
  fact.value && el("span", { class: "fact-value" }, ` ${brief(fact.value)}`),
];

export function source(fact) {
  const from = fact.source;
  const rows = [
    ["Source", el("code", {}, from.reference)],
    ["Site", from.site],
    fact.value && brief(fact.value) !== fact.value && ["Value as sent", fact.value],
    ["Happened", fact.occurred ?? "not stated"],
    ["Known from", moment(fact.known_at)],
    ["Received", moment(from.received_at)],
    from.updated_at && ["Changed there", moment(from.updated_at)],
    ["Code", el("code", {}, fact.code)],
    fact.standing !== "asserted" && ["Standing", fact.standing],
    fact.flags.length > 0 && ["Note", fact.flags.map((flag) => flag.replaceAll("_", " ")).join(", ")],
    ["Bytes", el("code", { title: from.digest }, `sha256 ${short(from.digest)}`)],
    ["Delivery", el("code", { title: from.delivery_id }, short(from.delivery_id))],
  ].filter(Boolean);
  return el("dl", { class: "source" }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

export const origin = (fact) =>
  fact.origin === "ai_from_note"
    ? el("span", { class: "tag ai" }, "AI-derived from a note")
    : fact.origin === "patient_reported" && el("span", { class: "tag" }, "patient-reported");
