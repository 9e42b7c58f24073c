// The course of one quantity: what was measured, and the forecast with its 50 % and 90 % bands.
//
// The time axis is linear near the question and logarithmic away from it, so that days and years fit
// one picture; where windows and history are hours it is linear. Each band is one forecast window, a
// step, because nothing was said of the course within it.

import { svg } from "./dom.js";
import { isByHours, measure, moment, percent, unit } from "./words.js";

const HOUR = 36e5;
const LINEAR_REACHES = 4; // the past that a linear axis has room for, in lengths of what is foretold
const HOURS = [6, 12, 24, 36, 48, 60, 72, 96].map((hours) => [hours, `${hours} h`]);
const TICKS = [
  [1, "1 h"], [6, "6 h"], [24, "1 d"], [72, "3 d"], [168, "7 d"], [720, "30 d"], [2160, "90 d"],
  [8760, "1 y"], [26280, "3 y"], [87600, "10 y"], [262800, "30 y"],
];

export const unitAfter = (quantity) => {
  const text = unit(quantity.unit);
  return text ? ` ${text}` : "";
};

export function course(quantity, asOf, { width, height, detailed }) {
  const pad = detailed ? { left: 44, right: 14, top: 14, bottom: 26 } : { left: 8, right: 8, top: 8, bottom: 24 };
  const said = quantity.estimates.filter((estimate) => estimate.estimate !== null);
  const measured = quantity.measured.map((m) => ({ ...m, hours: (Date.parse(m.at) - Date.parse(asOf)) / HOUR }));
  const x = timeScale(quantity, measured, pad.left, width - pad.right);
  const y = valueScale(measured, said, height - pad.bottom, pad.top);
  const parts = [
    detailed && grid(y, pad.left, width - pad.right),
    ...said.map((estimate) => band(estimate, x, y)),
    ...runs(quantity.estimates).map((run) => gap(run, x, pad.top, height - pad.bottom, detailed)),
    nowLine(x(0), pad.top, height - pad.bottom),
    line(measured, x, y),
    measured.map((m) => dot(m, x, y, detailed, quantity)),
    detailed && timeAxis(quantity, x, width - pad.right, height),
  ];
  return svg(
    "svg",
    { class: "course", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": summary(quantity) },
    parts,
  );
}

function timeScale(quantity, measured, left, right) {
  const ends = quantity.estimates.map((estimate) => estimate.horizon.end_hours);
  const bend = Math.min(...ends);
  const isLinear = isByHours(ends) && measured.every((m) => -m.hours <= LINEAR_REACHES * Math.max(...ends));
  const stretch = isLinear ? (hours) => hours : (hours) => Math.sign(hours) * Math.log1p(Math.abs(hours) / bend);
  const from = stretch(Math.min(-Math.max(...ends) / 4, ...measured.map((m) => m.hours)));
  const to = stretch(Math.max(...ends));
  const scale = (hours) => left + ((stretch(hours) - from) / (to - from)) * (right - left);
  scale.ticks = isLinear ? HOURS : TICKS;
  return scale;
}

function valueScale(measured, said, bottom, top) {
  const values = [
    ...measured.map((m) => m.value),
    ...said.flatMap((e) => [e.estimate, ...e.intervals.flatMap((i) => [i.low, i.high])]),
  ];
  let low = Math.min(...values), high = Math.max(...values);
  if (!values.length) [low, high] = [0, 1];
  if (high - low < 1e-9) [low, high] = [low - 1, high + 1];
  const room = (high - low) * 0.08;
  const step = niceStep((high - low + 2 * room) / 5);
  const isNeverNegative = low >= 0;
  low = Math.floor((low - room) / step) * step;
  if (isNeverNegative) low = Math.max(low, 0);
  high = Math.ceil((high + room) / step) * step;
  const scale = (value) => bottom - ((value - low) / (high - low)) * (bottom - top);
  scale.ticks = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => low + i * step);
  return scale;
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((m) => m * power).find((step) => step >= rough);
}

const grid = (y, left, right) =>
  y.ticks.map((tick) => [
    svg("line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) }),
    svg("text", { class: "tick", x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, measure(tick)),
  ]);

function band(estimate, x, y) {
  const left = x(estimate.horizon.start_hours), width = x(estimate.horizon.end_hours) - left;
  const widest = [...estimate.intervals].sort((a, b) => b.level - a.level);
  return svg(
    "g",
    {},
    svg("title", {}, `${estimate.horizon.label}: ${measure(estimate.estimate)}`),
    widest.map((interval) =>
      svg("rect", {
        class: interval.level > 0.7 ? "band outer" : "band",
        x: left, width: Math.max(width - 1, 1), y: y(interval.high), height: Math.max(y(interval.low) - y(interval.high), 1),
      }),
    ),
    svg("line", { class: "median", x1: left, x2: left + width - 1, y1: y(estimate.estimate), y2: y(estimate.estimate) }),
  );
}

// Withheld windows that follow one another, as one stretch each.
function runs(estimates) {
  const found = [];
  for (const { withheld, horizon } of estimates) {
    if (!withheld) continue;
    const last = found.at(-1);
    if (last && last.end_hours === horizon.start_hours) Object.assign(last, { end_hours: horizon.end_hours, label: `${last.label}, ${horizon.label}` });
    else found.push({ ...horizon });
  }
  return found;
}

function gap(run, x, top, bottom, detailed) {
  const left = x(run.start_hours), width = x(run.end_hours) - left;
  return svg(
    "g",
    {},
    svg("title", {}, `${run.label}: withheld`),
    svg("rect", { class: "gap", x: left + 1, y: top, width: Math.max(width - 2, 1), height: bottom - top }),
    detailed && width > 56 && svg("text", { class: "tick", x: left + width / 2, y: top + 14, "text-anchor": "middle" }, "withheld"),
  );
}

const nowLine = (x, top, bottom) => svg("line", { class: "now", x1: x, x2: x, y1: top, y2: bottom });

function line(measured, x, y) {
  if (measured.length < 2) return null;
  const path = measured.map((m, i) => `${i ? "L" : "M"}${x(m.hours).toFixed(1)} ${y(m.value).toFixed(1)}`).join("");
  return svg("path", { class: "measured-line", d: path });
}

const dot = (m, x, y, detailed, quantity) =>
  svg(
    "circle",
    { class: m.comparator ? "measured bound" : "measured", cx: x(m.hours).toFixed(1), cy: y(m.value).toFixed(1), r: detailed ? 2.6 : 1.4 },
    svg("title", {}, `${m.comparator ?? ""}${measure(m.value)}${unitAfter(quantity)}, ${moment(m.at)}`),
  );

function timeAxis(quantity, x, right, height) {
  const ends = quantity.estimates.map((estimate) => estimate.horizon.end_hours);
  const marks = [
    [0, "now"],
    ...ends.map((end) => [end, `+${named(end, x.ticks)}`]),
    ...x.ticks.filter(([hours]) => x(-hours) >= x(0) - (x(0) - 44)).map(([hours, text]) => [-hours, `−${text}`]),
  ].sort((a, b) => Math.abs(a[0]) - Math.abs(b[0]));
  const taken = [];
  return marks.map(([hours, text]) => {
    const at = x(hours);
    if (taken.some((other) => Math.abs(other - at) < 44)) return null;
    taken.push(at);
    const anchor = at > right - 16 ? "end" : "middle";
    return svg("text", { class: hours ? "tick" : "tick strong", x: at, y: height - 8, "text-anchor": anchor }, text);
  });
}

function named(hours, ticks) {
  const known = ticks.find(([h]) => Math.abs(h - hours) < 1e-6);
  if (known) return known[1];
  return hours % 24 ? `${measure(hours)} h` : `${measure(hours / 24)} d`;
}

function summary(quantity) {
  const last = quantity.measured.at(-1);
  const past = last ? `last measured ${measure(last.value)}${unitAfter(quantity)}` : "never measured in this unit";
  const ahead = quantity.estimates
    .filter((e) => e.estimate !== null)
    .map((e) => `${e.horizon.label}: ${measure(e.estimate)} (${e.intervals.map((i) => `${percent(i.level)} ${measure(i.low)} to ${measure(i.high)}`).join(", ")})`);
  return `${quantity.label}: ${past}; forecast ${ahead.join("; ") || "withheld"}`;
}

// How far the predicted latents move away from the first window, with the spread of the predictor heads.
export function movement(steps, { width, height }) {
  const top = Math.max(...steps.map((s) => s.movement + s.spread), 1e-9);
  const left = 8, right = width - 8, base = height - 24;
  const y = (value) => base - (Math.max(value, 0) / top) * (base - 10);
  const x = (i) => left + ((i + 0.5) / steps.length) * (right - left);
  return svg(
    "svg",
    {
      class: "course", viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": steps.map((s) => `${s.horizon.label}: movement ${s.movement.toFixed(2)}, spread ${s.spread.toFixed(2)}`).join("; "),
    },
    svg("line", { class: "grid", x1: left, x2: right, y1: base, y2: base }),
    steps.map((step, i) => [
      svg("line", { class: "spread", x1: x(i), x2: x(i), y1: y(step.movement - step.spread), y2: y(step.movement + step.spread) }),
      svg("circle", { class: "latent", cx: x(i), cy: y(step.movement), r: 4.5 }),
      svg("text", { class: "tick strong", x: x(i) + 10, y: y(step.movement) + 4 }, step.movement.toFixed(2)),
      svg("text", { class: "tick", x: x(i), y: height - 8, "text-anchor": "middle" }, step.horizon.label.replace("-", "–")),
    ]),
  );
}
