// The timeline in lanes that never stack; every mark opens its source, by pointer or by arrow keys.

import { el, put, svg } from "./dom.js";
import { heading, origin, source } from "./facts.js";
import { count, day, measure, plural } from "./words.js";

const ROW = 26, LEFT = 132, RIGHT = 14, CHARACTER = 6.3;
const RANGES = [[90, "90 d"], [365, "1 y"], [1826, "5 y"], [null, "all"]];
// Of a record of a few days, as of a stay in intensive care.
const SHORT_RANGES = [[1, "24 h"], [2, "48 h"], [3, "72 h"], [null, "all"]];
const SHORT_DAYS = 10, DAY = 864e5;

export function timelinePanel(state, choose) {
  const ranges = isShort(state) ? SHORT_RANGES : RANGES;
  // A range longer than the whole record is all of it.
  const chosen = ranges.some(([days]) => days === state.days) ? state.days : null;
  const place = el("div", { class: "lanes" });
  const card = el("div", { class: "fact-card", "aria-live": "polite" });
  const panel = el(
    "section",
    { class: "panel", "aria-labelledby": "timeline-title" },
    el("div", { class: "panel-head" },
      el("h2", { id: "timeline-title" }, "Timeline ", el("small", {}, "every mark opens its source; arrow keys move along a lane")),
      el("div", { class: "segments", role: "group", "aria-label": "How far back" },
        ranges.map(([days, text]) =>
          el("button", { type: "button", "aria-pressed": String(chosen === days), onclick: () => choose(days) }, text)))),
    place,
    card,
  );
  if (!state.timeline) {
    put(place, state.timelineError
      ? el("p", { class: "quiet" }, state.timelineError)
      : el("div", { class: "skeleton", "aria-busy": "true", "aria-label": "Loading the timeline" }));
    return panel;
  }
  const { timeline } = state;
  let drawnWidth = 0;
  const draw = (width) => {
    if (width === drawnWidth || width <= LEFT + RIGHT) return;
    drawnWidth = width;
    put(place, lanes(timeline, { days: chosen, isShort: isShort(state) }, width, (mark) => show(card, mark)));
  };
  draw(900);
  new ResizeObserver(() => place.isConnected && draw(place.clientWidth)).observe(place);
  panel.append(el("p", { class: "quiet" }, tally(timeline)));
  return panel;
}

// Whether all that is known lies within a few days of the question. What a range cut off is older:
// nothing is learned from it.
function isShort(state) {
  const { timeline } = state;
  if (state.shortRecord === undefined && timeline && !timeline.num_earlier) {
    const starts = timeline.lanes.flatMap((lane) => lane.marks.map((mark) => Date.parse(mark.at)));
    state.shortRecord = starts.length > 0 && Date.parse(timeline.as_of) - Math.min(...starts) <= SHORT_DAYS * DAY;
  }
  return state.shortRecord ?? false;
}

function tally(timeline) {
  const drawn = timeline.num_events - timeline.num_static - timeline.num_earlier;
  const parts = [`${plural(timeline.num_events, "event")} known`];
  if (timeline.num_earlier) parts.push(`${count(timeline.num_earlier)} ended before this range`);
  if (timeline.num_marks < drawn) parts.push(`${count(drawn)} drawn as ${plural(timeline.num_marks, "mark")}`);
  return `${parts.join(", ")}.`;
}

function show(card, mark) {
  const { fact } = mark;
  put(
    card,
    el("div", { class: "fact-title" }, heading(fact), " ", origin(fact)),
    mark.count > 2 && el("p", { class: "quiet" }, `One of ${count(mark.count)} facts drawn as one mark; this is the newest.`),
    !mark.is_time_stated && el("p", { class: "quiet" }, "The source does not say when it happened; drawn where it became known."),
    source(fact),
  );
}

function lanes(timeline, { days, isShort }, width, select) {
  const end = Date.parse(timeline.as_of);
  const starts = timeline.lanes.flatMap((lane) => lane.marks.map((mark) => Date.parse(mark.at)));
  if (!starts.length) return el("p", { class: "quiet" }, "Nothing is known in this range.");
  const begin = days === null ? Math.min(...starts) : end - days * DAY;
  const span = Math.max(end - begin, 1);
  const x = (text) => LEFT + ((Math.min(Math.max(Date.parse(text), begin), end) - begin) / span) * (width - LEFT - RIGHT);
  const height = timeline.lanes.length * ROW + 24;
  return svg(
    "svg",
    { class: "timeline", viewBox: `0 0 ${width} ${height}`, width, height },
    timeline.lanes.map((lane, row) => drawLane(lane, row, { x, end, width, select })),
    axis(begin, end, height, x, isShort ? (tick) => hoursBefore(end - tick) : day),
  );
}

function drawLane(lane, row, view) {
  const top = row * ROW, middle = top + ROW / 2;
  const placed = lane.marks.map((mark) => place(mark, view));
  const nodes = placed.map((where) => drawMark(where, middle));
  let at = lane.marks.length;
  const go = (next) => {
    nodes[at]?.classList.remove("chosen");
    at = Math.min(Math.max(next, 0), lane.marks.length - 1);
    nodes[at].classList.add("chosen");
    view.select(lane.marks[at]);
  };
  nodes.forEach((node, i) => node.addEventListener("click", () => go(i)));
  const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
  return svg(
    "g",
    {
      class: "lane", tabindex: "0", role: "group",
      "aria-label": `${lane.name}: ${plural(lane.marks.length, "mark")}; left and right arrow move along them`,
      onkeydown: (event) => {
        if (!(event.key in step)) return;
        event.preventDefault();
        go(at + step[event.key]);
      },
    },
    svg("rect", { class: "lane-back", x: 0, y: top + 1, width: view.width, height: ROW - 2, rx: 4 }),
    svg("text", { class: "lane-name", x: 0, y: middle + 4 }, lane.name),
    svg("line", { class: "grid", x1: LEFT, x2: view.width - RIGHT, y1: top + ROW, y2: top + ROW }),
    nodes,
    labels(placed, middle, view),
  );
}

function place(mark, view) {
  const from = view.x(mark.at);
  const isLasting = mark.until !== null || mark.phase === "start";
  const until = isLasting ? view.x(mark.until ?? new Date(view.end).toISOString()) : from;
  return { mark, from, until, isBar: until - from > 5, text: mark.count > 2 ? `${mark.count}` : mark.fact.label };
}

function drawMark({ mark, from, until, isBar }, middle) {
  const kinds = [mark.fact.kind, mark.fact.origin === "ai_from_note" && "ai", mark.count > 2 && "joined"].filter(Boolean);
  return svg(
    "g",
    { class: `mark ${kinds.join(" ")}` },
    svg("title", {}, [mark.fact.label, mark.fact.value, "·", mark.fact.occurred ?? "time not stated"].join(" ")),
    svg("rect", { class: "hit", x: from - 12, y: middle - 12, width: until - from + 24, height: 24 }),
    isBar ? bar(from, until, middle) : point(mark, from, middle),
  );
}

const bar = (from, until, middle) => [
  svg("rect", { class: "bar", x: from, y: middle - 7, width: until - from, height: 14, rx: 2 }),
  svg("line", { class: "edge", x1: from, x2: from, y1: middle - 7, y2: middle + 7 }),
];

function point(mark, at, middle) {
  if (mark.fact.origin === "ai_from_note") return svg("rect", { class: "dot", x: at - 4, y: middle - 5, width: 8, height: 10, rx: 2 });
  if (["condition", "procedure", "death"].includes(mark.fact.kind)) {
    return svg("path", { class: "dot", d: `M${at} ${middle - 5}l5 5l-5 5l-5 -5z` });
  }
  return svg("circle", { class: "dot", cx: at, cy: middle, r: 3 });
}

// A label where there is room for it before the next mark begins; they are drawn over all marks.
function labels(placed, middle, view) {
  return placed.map(({ mark, from, isBar, text }, i) => {
    const next = placed.slice(i + 1).find((other) => other.from > from + 4);
    const room = (next ? next.from : view.width - RIGHT) - from - (isBar ? 8 : 18);
    const isCovered = placed[i + 1] && placed[i + 1].from <= from + 4;
    if (isCovered || room < Math.min(text.length, 9) * CHARACTER) return null;
    return svg("text", { class: "mark-text", x: from + (isBar ? 6 : 10), y: middle + 4 }, cut(text, room));
  });
}

const cut = (text, room) => {
  const fit = Math.floor(room / CHARACTER);
  return text.length <= fit ? text : `${text.slice(0, Math.max(fit - 1, 1))}…`;
};

const hoursBefore = (milliseconds) => (milliseconds < 36e3 ? "asked" : `−${measure(Math.round(milliseconds / 36e4) / 10)} h`);

function axis(begin, end, height, x, named) {
  const ticks = Array.from({ length: 5 }, (_, i) => begin + ((end - begin) * i) / 4);
  return ticks.map((tick, i) =>
    svg("text", { class: "tick", x: x(new Date(tick).toISOString()), y: height - 6, "text-anchor": i === 0 ? "start" : i === 4 ? "end" : "middle" },
      named(tick)));
}
