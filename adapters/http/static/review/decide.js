// The decision, what was decided, and what proves it.

import { el } from "./dom.js";
import { proofAddress } from "./api.js";
import { CHIPS, VERDICTS, count, moment, named, short } from "./words.js";

export function decidePanel(state, act) {
  const { item } = state;
  if (!item) return [];
  return [item.decision ? decided(item.decision) : form(state, act), capsule(state), history(state)];
}

function form(state, act) {
  const { item, draft } = state;
  const isMine = item.review.is_mine;
  return el(
    "form",
    { class: "panel decide", "aria-labelledby": "decide-title", onsubmit: (event) => { event.preventDefault(); act.sign(); } },
    el("h2", { id: "decide-title" }, "Decide"),
    el("fieldset", { disabled: !isMine },
      el("legend", { class: "hidden" }, "Verdict"),
      VERDICTS.map(([key, text], i) =>
        el("label", { class: "verdict" },
          el("input", { type: "radio", name: "verdict", value: key, checked: draft.verdict === key, onchange: () => act.verdict(key) }),
          el("span", {}, text), el("kbd", { "aria-hidden": "true" }, String(i + 1))))),
    el("fieldset", { disabled: !isMine },
      el("legend", {}, "Reason"),
      el("div", { class: "chips" }, CHIPS.map(([key, text]) =>
        el("label", { class: "chip" },
          el("input", { type: "checkbox", name: "reason", value: key, checked: draft.reasons.has(key),
            onchange: (event) => act.reason(key, event.target.checked) }), text)))),
    el("label", { class: "note" }, el("span", {}, "Note"),
      el("textarea", { rows: 3, maxlength: 4000, disabled: !isMine, oninput: (event) => act.note(event.target.value) }, draft.note)),
    el("button", { type: "submit", class: "primary wide", id: "sign", disabled: !isMine || !draft.verdict || state.isBusy },
      `Sign as ${state.session.display_name}`),
    el("p", { class: "quiet" }, isMine
      ? "A signed decision cannot be changed."
      : item.review.held_by ? `${item.review.held_by} holds this review.` : "Claim it first, so that nobody else works on it."),
  );
}

const decided = (decision) =>
  el("section", { class: "panel decided", "aria-labelledby": "decided-title" },
    el("h2", { id: "decided-title" }, "Decided"),
    el("p", { class: "verdict-made" }, named(VERDICTS, decision.verdict)),
    decision.reasons.length > 0 && el("ul", { class: "chips" }, decision.reasons.map((reason) => el("li", { class: "chip" }, named(CHIPS, reason)))),
    decision.note && el("blockquote", {}, decision.note),
    el("p", { class: "quiet" }, `Signed by ${decision.decided_by}, ${moment(decision.decided_at)}`),
    el("p", { class: "quiet" }, "Digest ", el("code", { title: decision.digest }, short(decision.digest))));

function capsule(state) {
  const { capsule: kept } = state.item;
  const rows = [
    ["input", kept.input_digest], ["output", kept.output_digest], ["model", kept.model.manifest_digest], ["config", kept.config_digest],
    ["capsule", kept.digest],
  ];
  return el("section", { class: "panel capsule", "aria-labelledby": "capsule-title" },
    el("h2", { id: "capsule-title" }, "Capsule ", el("small", {}, kept.grade === "R0" ? "enough to compute it again, bit for bit" : "enough to compute it again, to a thousandth")),
    el("dl", {}, rows.map(([name, digest]) => [el("dt", {}, name), el("dd", {}, el("code", { title: digest }, short(digest)))])),
    el("p", { class: "quiet" }, `${kept.model.name} ${kept.model.version}, seed ${kept.seed}, torch ${kept.torch_version} on ${kept.device}, code ${kept.code_version}`),
    state.head && el("p", { class: "quiet" }, `Audit head ${count(state.head.size)} · root `, el("code", { title: state.head.root }, short(state.head.root))));
}

const KINDS = {
  "prediction.stored.v1": "predicted", "review.opened.v1": "opened", "review.claimed.v1": "claimed",
  "review.released.v1": "released", "review.signed.v1": "signed", "review.superseded.v1": "superseded",
  "review.withdrawn.v1": "withdrawn", "review.read.v1": "read", "writeback.queued.v1": "write-back owed",
  "writeback.done.v1": "written back", "review.relook_asked.v1": "look again asked by", "review.looked_again.v1": "looked again",
  "plans.compared.v1": "plans compared", "prediction.stale.v1": "out of date",
};

function history(state) {
  if (!state.history) return null;
  const entries = state.history.entries;
  const told = entries.filter((entry) => entry.kind !== "review.read.v1");
  return el("section", { class: "panel history", "aria-labelledby": "history-title" },
    el("h2", { id: "history-title" }, "Audit ", el("small", {}, `read ${count(entries.length - told.length)} ×`)),
    el("ol", {}, told.map((entry) =>
      el("li", {},
        el("span", {}, el("strong", {}, KINDS[entry.kind] ?? entry.kind), ` ${entry.actor}`),
        el("a", { href: proofAddress(entry.entry_id), target: "_blank", rel: "noopener", title: moment(entry.at),
          "aria-label": `Proof that “${KINDS[entry.kind] ?? entry.kind}” is in the log` }, "proof")))));
}
