"""Courses as the product reads them: a daily visit with what was measured and what had been given.

On the visit of day t the tumour's volume is measured, and its change since yesterday in percent,
under the name of what was given in between; the treatments given after that visit are written down at
the next one, beside their effect. A question is asked at noon of day t: after its visit, before its
treatments. `events_of` makes a patient's events, which the `Tensorizer` reads; `Cohort` makes the same
tensors at once for many patients.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Source
from clinical.timeline.identity import identity_of
from clinical.timeline.quantity import Quantity
from clinical.worldmodel.vocabulary import NUM_KNOTS, CodeEntry, ValueScale, Vocabulary
from pipelines.evaluation.tumour.simulator import NUM_TYPES, Courses, Floats

VOLUME = Code(CodeSystem.TEXT, "tumour-volume", "tumour volume")
CHANGES = tuple(
    Code(CodeSystem.TEXT, f"change-{number}", f"change of tumour volume after {given}")
    for number, given in enumerate(("nothing", "chemotherapy", "radiotherapy", "both"))
)
"""By what was given the day before, in the order of `given_of`."""
CHEMO = Code(CodeSystem.TEXT, "chemotherapy", "chemotherapy")
RADIO = Code(CodeSystem.TEXT, "radiotherapy", "radiotherapy")
TYPES = tuple(Code(CodeSystem.TEXT, f"type-{n}", f"patient type {n}") for n in (1, 2, 3))
UNITS = {VOLUME.key: "cm3", **{code.key: "%" for code in CHANGES}}
NUM_BUCKETS = 64
START = datetime(2000, 1, 1, tzinfo=UTC)
START_DAY = (START - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(days=1)
ASKED_AT = 0.5
"""Days after the visit."""


def change_of(volume: Floats) -> Floats:
    """Percent since the day before, `[n, T - 1]`; 0 where there was nothing to change."""
    before, after = volume[:, :-1], volume[:, 1:]
    ratio = np.divide(after, before, out=np.ones_like(after), where=before > 0)
    return 100 * (ratio - 1)


def given_of(courses: Courses) -> NDArray[np.int64]:
    """What is given on each day: 0 nothing, 1 chemotherapy, 2 radiotherapy, 3 both."""
    return np.asarray(courses.chemo + 2 * courses.radio, dtype=np.int64)


def vocabulary_of(courses: Courses) -> Vocabulary:
    """The vocabulary of these patients, as `fitting.fit` would find it on their events."""
    days = np.arange(courses.volume.shape[1])
    is_on_record = days <= courses.last[:, None]
    given = days < courses.last[:, None]
    counts = {
        CHEMO: int((courses.chemo & given).sum()),
        RADIO: int((courses.radio & given).sum()),
        **{TYPES[n]: int((courses.kind == n + 1).sum()) for n in range(NUM_TYPES)},
    }
    scales = {VOLUME: _scale(courses.volume[is_on_record], UNITS[VOLUME.key])}
    change, after = change_of(courses.volume), given_of(courses)[:, :-1]
    for number, code in enumerate(CHANGES):
        values = change[is_on_record[:, 1:] & (after == number)]
        scales[code] = _scale(values, UNITS[code.key])
    by_number = sorted(scales, key=lambda code: (-scales[code].num_values, code.key))
    entries = [
        CodeEntry(system=code.system, value=code.value, display=code.display, count=count)
        for code, count in counts.items()
    ]
    entries += [
        CodeEntry(
            system=code.system,
            value=code.value,
            display=code.display,
            count=scale.num_values,
            scale=scale,
        )
        for code, scale in scales.items()
    ]
    return Vocabulary(
        entries=tuple(sorted(entries, key=lambda entry: (entry.system, entry.value))),
        systems=(CodeSystem.TEXT,),
        numeric=tuple(code.key for code in by_number),
        actions=(CHEMO.key, RADIO.key),
        num_buckets=NUM_BUCKETS,
    )


def _scale(values: Floats, unit: str) -> ValueScale:
    knots = np.quantile(values, np.linspace(0, 1, NUM_KNOTS))
    return ValueScale(
        unit=unit,
        knots=tuple(float(knot) for knot in knots),
        mean=float(values.mean()),
        sd=float(values.std()),
        num_values=len(values),
        has_own_bins=True,
        conversions={unit: (1.0, 0.0)},
    )


def events_of(courses: Courses, row: int, first_day: int = 0) -> tuple[UUID, list[Event]]:
    """The patient in `row` and his events, from the visit of `first_day` on."""
    patient = identity_of(f"tumour simulator|{row}")
    last, volume = int(courses.last[row]), courses.volume[row]
    kind = TYPES[courses.kind[row] - 1]
    events = [event_of(patient, EventKind.PATIENT, kind, first_day, None)]
    change, given = change_of(courses.volume[row : row + 1])[0], given_of(courses)[row]
    for day in range(first_day, last + 1):
        values = [(VOLUME, volume[day])]
        if day > first_day:
            values.append((CHANGES[given[day - 1]], change[day - 1]))
            if courses.chemo[row, day - 1]:
                kind_of = EventKind.MEDICATION_ADMINISTRATION
                events.append(event_of(patient, kind_of, CHEMO, day, None))
            if courses.radio[row, day - 1]:
                events.append(event_of(patient, EventKind.PROCEDURE, RADIO, day, None))
        for code, value in values:
            quantity = Quantity(Decimal(repr(float(value))), UNITS[code.key])
            events.append(event_of(patient, EventKind.OBSERVATION, code, day, quantity))
    return patient, events


def event_of(patient: UUID, kind: EventKind, code: Code, day: int, value: Quantity | None) -> Event:
    """One fact of the visit of `day`."""
    source = Source(
        site="simulator",
        record_type="Visit",
        record_id=f"{day}-{code.value}",
        digest=f"{patient}-{day}-{code.value}",
        delivery_id=patient,
    )
    moment = START + timedelta(days=day)
    return Event(
        patient_id=patient, kind=kind, code=code, source=source, received_at=moment, value=value
    )


@dataclass(frozen=True, slots=True)
class Column:
    """One numeric series of a cohort, `[n, T]`: where it has a value, and how that value is read."""

    z: Floats
    position: Floats
    running: Floats  # [n, T, 9], after each day


def column_of(values: Floats, is_there: NDArray[np.bool_], scale: ValueScale) -> Column:
    """A series as the tensorizer reads it."""
    z = (values - scale.mean) / scale.sd
    position = np.interp(values, scale.knots, np.arange(NUM_KNOTS))
    return Column(z, position, _running(z, is_there))


def _running(z: Floats, is_there: NDArray[np.bool_]) -> Floats:
    """`statistics.Running` of every patient at once, `[n, T, 9]`."""
    num, num_days = z.shape
    table = np.zeros((num, num_days, 9))
    now = np.zeros((num, 9))
    for day in range(num_days):
        value, here = z[:, day], is_there[:, day]
        count, mean, m2, low, high, first, _, last_time, recent = now.T
        is_first = count == 0
        time = START_DAY + day
        fade = np.exp(-np.maximum(time - last_time, 0.0) / 365.25)
        delta = value - mean
        new_mean = mean + delta / (count + 1)
        new = np.stack(
            [
                count + 1,
                new_mean,
                m2 + delta * (value - new_mean),
                np.where(is_first, value, np.minimum(low, value)),
                np.where(is_first, value, np.maximum(high, value)),
                np.where(is_first, value, first),
                value,
                np.full(num, time),
                np.where(is_first, 0.0, recent * fade) + 1,
            ],
            axis=1,
        )
        now = np.where(here[:, None], new, now)
        table[:, day] = now
    return table
