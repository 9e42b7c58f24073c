"""What a card says: a stored forecast in words, or why there is none; never a null, never an order.

Knows wording, time and percentages. What may be shown is the domain's matter. Words from outside (the
names of drafts, of models) are escaped: a card is Markdown.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from adapters.http.cds_schemas import Card, Coding, Link, Source, Topic
from adapters.http.cds_site import CardStyle
from adapters.http.cds_words import age, amount, interval, moment, name, percent, plain
from adapters.http.items import words_of
from clinical.prediction.plan import COURSE_UNDER_PLAN, PlanOption, StoredComparison
from clinical.prediction.prediction import Prediction
from clinical.prediction.readout import Readout, ReadoutKind
from clinical.review.decision import Reason
from clinical.services.cards import Silence

REASONS = "urn:clinical-jepa:override-reason"
_TOPICS = "urn:clinical-jepa:topic"
_MAX_SUMMARY = 139
_MAX_ROWS = 24
_SUPPORT_WORDS = "share of similar patients treated so"
_SILENCES = {
    Silence.UNKNOWN_PATIENT: "Nothing is held here about this patient.",
    Silence.PENDING: "No forecast yet: one was asked for and will be made from what is held.",
    Silence.MODEL_NOT_IN_USE: "The model behind the last forecast is not in use; another was asked for.",
    Silence.WITHDRAWN: "The last forecast was withdrawn; another was asked for.",
    Silence.OUTLIVED: "The last forecast speaks of a time that is over; another was asked for.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """What is said of draft orders: a comparison, or a sentence why there is none; what is not in it."""

    comparison: StoredComparison | None = None
    sentence: str = ""
    unknown: tuple[str, ...] = ()

    @property
    def is_foretold(self) -> bool:
        """Whether there is a course with the drafts, and one without."""
        options = self.comparison.comparison.options if self.comparison else ()
        return {bool(option.taken) for option in options} == {True, False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A stored forecast that is shown now, as which card, and under which review it stands."""

    card_id: UUID
    prediction: Prediction
    review_id: UUID | None
    now: datetime


def silent_card(silence: Silence, style: CardStyle, remarks: Sequence[str] = ()) -> Card:
    """A card without a forecast. It has no identity: there is nothing to say of it."""
    sentence = _SILENCES[silence]
    nothing = "This says nothing about the patient: neither a risk nor its absence."
    return Card(
        summary=sentence,
        detail="\n\n".join((sentence, nothing, *remarks)),
        indicator="info",
        source=_source(None, style),
    )


def forecast_card(
    shown: Shown, style: CardStyle, drafts: Drafts | None = None, remarks: Sequence[str] = ()
) -> Card:
    """A card of a stored forecast, also of one that says nothing and why."""
    prediction, said = shown.prediction, _said(shown.prediction, shown.now)
    paragraphs = [*_paragraphs(prediction, said, shown.now, drafts), *remarks]
    made: dict[str, Any] = {
        "uuid": shown.card_id,
        "summary": _summary(prediction, said, drafts),
        "detail": "\n\n".join(paragraphs),
        "indicator": _indicator(said, style),
        "source": _source(prediction, style),
        "override_reasons": _override_reasons(),
    }
    if shown.review_id is not None:
        url = f"{style.public_url}/#review={shown.review_id}"
        made["links"] = [Link(label="Open the review", url=url, type="absolute")]
    return Card(**made)


def _said(prediction: Prediction, now: datetime) -> list[Readout]:
    """Estimates of windows that are not over, risks first, the highest of each kind first."""
    age = now - prediction.request.as_of
    said = [
        r
        for r in prediction.forecast.readouts
        if r.estimate is not None and (r.horizon.end is None or r.horizon.end > age)
    ]
    return sorted(said, key=_rank)


def _rank(readout: Readout) -> tuple[bool, float, str, tuple[timedelta, timedelta]]:
    is_risk = readout.kind is ReadoutKind.PROBABILITY
    height = -(readout.estimate or 0.0) if is_risk else 0.0
    return (not is_risk, height, readout.name, readout.horizon.order)


def _summary(prediction: Prediction, said: Sequence[Readout], drafts: Drafts | None) -> str:
    if prediction.forecast.abstention is not None:
        text = f"No forecast: {prediction.forecast.abstention.detail}"
    elif not said:
        text = "No forecast: nothing could be said with enough certainty"
    else:
        text = f"Forecast for review: {name(said[0])} {amount(said[0])} ({said[0].horizon.label})"
    if drafts is not None:
        text += "; with and without the draft" if drafts.is_foretold else "; the draft is not in it"
    text = " ".join(text.split())
    return text if len(text) <= _MAX_SUMMARY else text[: _MAX_SUMMARY - 1] + "…"


def _paragraphs(
    prediction: Prediction, said: Sequence[Readout], now: datetime, drafts: Drafts | None
) -> Iterable[str]:
    yield "**For review by a clinician.** A forecast, no diagnosis and no order."
    if drafts is not None:
        yield _of_drafts(drafts)
    abstention = prediction.forecast.abstention
    if abstention is not None:
        yield f"Nothing is said: {plain(abstention.detail)} (`{abstention.reason}`)."
    elif said:
        yield _table(said)
    yield _withheld(prediction)
    yield _provenance(prediction, said, now)


def _table(said: Sequence[Readout]) -> str:
    rows = ["| What | Window | Estimate | Interval |", "| --- | --- | --- | --- |"]
    rows += [
        f"| {plain(name(r))} | {r.horizon.label} | {amount(r)} | {interval(r)} |"
        for r in said[:_MAX_ROWS]
    ]
    more = len(said) - _MAX_ROWS
    tail = f"\n\n{more} more estimates are in the review." if more > 0 else ""
    return "\n".join(rows) + f"\n\nWindows count from the data cut-off.{tail}"


def _withheld(prediction: Prediction) -> str:
    names = Counter(name(r) for r in prediction.forecast.readouts if r.abstention is not None)
    if not names:
        return "Nothing that the model speaks of was withheld."
    listed = ", ".join(f"{plain(n)} ({count})" for n, count in sorted(names.items()))
    return f"Not said, by number of windows: {listed}."


def _provenance(prediction: Prediction, said: Sequence[Readout], now: datetime) -> str:
    capsule, request = prediction.forecast.capsule, prediction.request
    calibrations = sorted({r.calibration_id for r in said if r.calibration_id})
    lines = [
        f"Data cut-off: {moment(request.as_of)} ({age(now - request.as_of)} ago)",
        f"Forecast made: {moment(prediction.made_at)} ({age(now - prediction.made_at)} ago)",
        f"Horizon: {_horizon(prediction)}",
        f"Model: {plain(capsule.model.name)} {plain(capsule.model.version)}"
        f" (`{capsule.model.manifest_digest[:12]}`)",
        f"Calibration: {', '.join(f'`{each}`' for each in calibrations) or 'none, nothing is said'}",
        f"Prediction: `{request.prediction_id}`",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _horizon(prediction: Prediction) -> str:
    horizons = {r.horizon for r in prediction.forecast.readouts}
    if not horizons:
        return "none, nothing is said"
    last = max(horizons, key=lambda horizon: horizon.order)
    return last.label if last.end is None else f"up to {age(last.end)} after the data cut-off"


def _of_drafts(drafts: Drafts) -> str:
    parts = [drafts.sentence] if drafts.sentence else []
    if drafts.comparison is not None:
        parts += _compared(drafts.comparison)
    if drafts.unknown:
        names = ", ".join(plain(name) for name in drafts.unknown)
        parts.append(
            f"Not in it, for the model never learned them or cannot say how usual they are: {names}."
        )
    return "\n\n".join(parts)


def _compared(stored: StoredComparison) -> list[str]:
    comparison = stored.comparison
    label = plain(stored.question.decisions[0].choices[0].label)
    excluded = [f"{e.constraint}: {plain(e.detail)}" for e in comparison.excluded]
    by_taken = {bool(option.taken): option for option in comparison.options}
    if len(by_taken) < 2:
        why = comparison.abstention.detail if comparison.abstention else "no such plan may be made"
        reasons = f" ({'; '.join(excluded)})" if excluded else ""
        return [f"No course is foretold with the draft {label}: {plain(why)}{reasons}."]
    with_it, without = by_taken[True], by_taken[False]
    rows = ["| What | Window | No change | With the draft |", "| --- | --- | --- | --- |"]
    rows += _course_rows(without, with_it)
    usual = (
        f"Draft: {label}. {_SUPPORT_WORDS.capitalize()}: {percent(with_it.support)} with it,"
        f" {percent(without.support)} without."
    )
    wording = (
        f"{COURSE_UNDER_PLAN} Both columns are of plans in which nothing else is done, so they compare"
        " with each other only; a difference is not what the draft does."
    )
    model = comparison.capsule.model
    asked = (
        f"Comparison `{stored.question.comparison_id}` by {plain(model.name)} {plain(model.version)},"
        " of the same data cut-off."
    )
    return ["\n".join(rows), usual, wording, asked]


def _course_rows(without: PlanOption, with_it: PlanOption) -> list[str]:
    others = {(r.name, r.horizon): r for r in with_it.readouts}
    rows = []
    for one in sorted(without.readouts, key=lambda r: (r.name, r.horizon.order)):
        other = others.get((one.name, one.horizon))
        if other is None or one.estimate is None or other.estimate is None:
            continue
        cells = [f"{amount(each)} ({interval(each)})" for each in (one, other)]
        rows.append(f"| {plain(name(one))} | {one.horizon.label} | {cells[0]} | {cells[1]} |")
    return rows[:_MAX_ROWS]


def _indicator(said: Sequence[Readout], style: CardStyle) -> str:
    risks = [r.estimate or 0.0 for r in said if r.kind is ReadoutKind.PROBABILITY]
    highest = max(risks, default=0.0)
    for word, start in (("critical", style.critical_from), ("warning", style.warning_from)):
        if start is not None and risks and highest >= start:
            return word
    return "info"


def _source(prediction: Prediction | None, style: CardStyle) -> Source:
    model = prediction.forecast.capsule.model if prediction else None
    label = f"clinical-jepa, model {model.name} {model.version}" if model else "clinical-jepa"
    topic = Topic(system=_TOPICS, code="forecast", display="Forecast for review")
    return Source(label=label, url=style.public_url, topic=topic)


def _override_reasons() -> list[Coding]:
    return [Coding(code=r.value, system=REASONS, display=words_of(r.value)) for r in Reason]
