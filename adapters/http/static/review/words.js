// How numbers, times and codes are worded.

const DATE = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", year: "numeric", timeZone: "UTC",
});
const MOMENT = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZone: "UTC",
});
const COUNT = new Intl.NumberFormat("en-GB");

export const day = (text) => DATE.format(new Date(text));
export const moment = (text) => `${MOMENT.format(new Date(text))} UTC`;
export const count = (n) => COUNT.format(n);
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
export const short = (digest) => `${digest.slice(0, 4)}…${digest.slice(-2)}`;
export const dashed = (label) => label.replace("-", "–");

// Whether these windows, by the hours of their ends, are those of a stay in hospital and not of years.
const SHORT_HOURS = 72;
export const isByHours = (ends) => ends.length > 0 && Math.max(...ends) <= SHORT_HOURS;

// How long before the question something was, in hours, or the day where that is too long ago.
export function before(text, asOf) {
  const hours = (Date.parse(asOf) - Date.parse(text)) / 36e5;
  return hours < 1 ? `${Math.max(Math.round(hours * 60), 0)} min before` : `${measure(Math.round(hours * 10) / 10)} h before`;
}

export function percent(p) {
  if (p > 0 && p < 0.005) return "< 0.5 %";
  if (p < 1 && p > 0.995) return "> 99.5 %";
  return `${Math.round(p * 100)} %`;
}

export const percentRange = (low, high) =>
  `${Math.round(low * 100)}–${Math.round(high * 100)} %`;

export function measure(value) {
  const size = Math.abs(value);
  return String(Number(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)));
}

// Numbers as sent may have a dozen digits, and units are UCUM.
export const brief = (value) =>
  value.replace(/\d+\.\d{3,}/g, (digits) => measure(Number(digits)))
    .replace(/^(\S*\d) (\S+)$/, (_, number, ucum) => `${number} ${unit(ucum)}`.trim());

const UNITS = { "mm[Hg]": "mmHg", "/min": "/min", "{beats}/min": "beats/min", Cel: "°C", "1": "", "m2": "m²",
  "kg/m2": "kg/m²", "10*3/uL": "10³/µL", "10*6/uL": "10⁶/µL", "mL/min/{1.73_m2}": "mL/min/1.73 m²", "{score}": "", "[pH]": "" };

export const unit = (ucum) => UNITS[ucum] ?? ucum.replace(/\[i?I?U\]/, "IU").replace(/[{}]/g, "");

export function ago(text, until) {
  const hours = Math.max(0, (until - Date.parse(text)) / 36e5);
  if (hours < 1) return `${Math.floor(hours * 60)} min`;
  if (hours < 48) return `${Math.floor(hours)} h`;
  return `${Math.floor(hours / 24)} d`;
}

export function clock(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

export function who(patient, { brief = false } = {}) {
  const age = patient.age ?? (brief ? "age ?" : "age unknown");
  if (brief) {
    const letter = { male: "M", female: "F" }[patient.sex] ?? "–";
    return `${letter}, ${patient.age_years === null ? age.replace(" months", " mo") : age}`;
  }
  const isChild = patient.age !== null && (patient.age_years === null || patient.age_years < 18);
  const words = isChild ? { male: "Boy", female: "Girl" } : { male: "Man", female: "Woman" };
  return `${words[patient.sex] ?? "Patient"}, ${age}`;
}

const REASONS = {
  too_few_events: "too little is known of this patient",
  unfamiliar_patient: "this patient is unlike those the model was trained on",
  unfamiliar_codes: "too many of this patient's codes are unknown to the model",
  not_calibrated: "too few known outcomes to calibrate it",
  interval_too_wide: "the interval would be too wide to be of use",
  heads_disagree: "the predictor heads disagree",
  never_measured: "never measured in this patient",
  patient_deceased: "the record says that this patient has died",
  model_not_numeric: "the model gave something that is no number",
  implausible_value: "a newest value is too extreme to be read",
  horizon_beyond_reach: "the window ends later than the model can foretell",
  unknown_action: "the plan holds an action that the model never met",
  support_unknown: "how usual these decisions are for such patients is not known",
  plan_unusual: "the plan that would come first was hardly ever followed by similar patients",
  no_allowed_plan: "a constraint forbids every one of these decisions",
  plan_too_long: "the plan holds more actions than the model can read",
};

export const because = (withheld) => REASONS[withheld.reason] ?? withheld.reason.replaceAll("_", " ");

export const VERDICTS = [
  ["agree", "Agree"],
  ["agree_with_changes", "Agree, with changes"],
  ["disagree", "Disagree"],
  ["cannot_assess", "Cannot assess"],
];

export const CHIPS = [
  ["acknowledged", "acknowledged"],
  ["already_treated", "already treated"],
  ["data_wrong", "data wrong"],
  ["data_missing", "data missing"],
  ["not_relevant", "not relevant"],
  ["patient_preference", "patient preference"],
  ["implausible", "implausible"],
  ["other", "other"],
];

export const CONCERNS = {
  safety: "for safety", performance: "it is worse than it should be", data: "what it rests on was wrong",
  drift: "patients or practice have changed", replaced: "another model takes its place", other: "for another reason",
};

export const named = (pairs, value) => (pairs.find(([key]) => key === value) ?? [value, value])[1];

export function refusal(error) {
  const problem = error.problem ?? {};
  if (error.code === "review.held_by_another" && problem.held_by) {
    return `${problem.held_by} holds this review.`;
  }
  if (error.code === "review.stale_version") {
    return "The review has changed since you opened it; here is how it stands now.";
  }
  if (error.code === "review.not_holder") return "Your claim has ended; claim it again to decide.";
  return error.message;
}
