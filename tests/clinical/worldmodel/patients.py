"""Made-up patients for the world model's tests: seeded, with everything the model reads."""

import hashlib
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from clinical.prediction.request import PredictionRequest
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, Flag, Phase, Source, Standing
from clinical.timeline.patient import PatientRef
from clinical.timeline.quantity import Quantity
from clinical.timeline.time import ClinicalTime
from clinical.timeline.timeline import Timeline

START = datetime(2000, 1, 1, tzinfo=UTC)
LATER = datetime(2030, 1, 1, tzinfo=UTC)
WEIGHT = Code(CodeSystem.LOINC, "29463-7", "Body Weight")
GLUCOSE = Code(CodeSystem.LOINC, "2339-0", "Glucose")
PRESSURE = Code(CodeSystem.LOINC, "8480-6", "Systolic Blood Pressure")
SMOKING = Code(CodeSystem.LOINC, "72166-2", "Tobacco smoking status")
NEVER = Code(CodeSystem.SNOMED_CT, "266919005", "Never smoked")
DIABETES = Code(CodeSystem.ICD_10_CM, "E11.9", "Type 2 diabetes mellitus")
ASTHMA = Code(CodeSystem.SNOMED_CT, "195967001", "Asthma")
METFORMIN = Code(CodeSystem.RXNORM, "6809", "Metformin")
INHALER = Code(CodeSystem.RXNORM, "435", "Albuterol")
EMERGENCY = Code(CodeSystem.ACT, "EMER", "emergency")
AMBULATORY = Code(CodeSystem.ACT, "AMB", "ambulatory")
DEATH = Code(CodeSystem.SNOMED_CT, "419099009", "Dead")


def patient_id(number: int) -> UUID:
    return PatientRef("made-up", f"p{number}").patient_id


def fact(
    number: int,
    name: str,
    day: float,
    kind: EventKind,
    code: Code,
    *,
    content: str = "",
    recorded: float | None = None,
    updated: float | None = None,
    **changes: Any,
) -> Event:
    """An event `day` days after the start of the story; `content` stands for its record's bytes."""
    moment = START + timedelta(days=day)
    fields: dict[str, Any] = {
        "patient_id": patient_id(number),
        "kind": kind,
        "code": code,
        "occurred_at": ClinicalTime.instant(moment),
        "recorded_at": None if recorded is None else START + timedelta(days=recorded),
        "received_at": datetime(2020, 1, 1, tzinfo=UTC),
        "source": Source(
            site="made-up",
            record_type="Record",
            record_id=f"{number}/{name}",
            digest=hashlib.sha256(f"{number}/{name}/{content}".encode()).hexdigest(),
            delivery_id=UUID(int=1),
            updated_at=None if updated is None else START + timedelta(days=updated),
        ),
    }
    return Event(**(fields | changes))


def amount(value: float | str, unit: str) -> Quantity:
    return Quantity(Decimal(str(value)), unit)


def made_up_events(number: int, num_visits: int = 12) -> list[Event]:
    """A life of visits: weight, glucose and pressure drift; some fall ill, are treated, or die."""
    luck = random.Random(number)
    sex = Code(CodeSystem.GENDER, luck.choice(["male", "female"]))
    born = ClinicalTime.day(1940 + luck.randrange(50), 1 + luck.randrange(12), 1)
    events = [fact(number, "patient", -1, EventKind.PATIENT, sex, occurred_at=born)]
    day, weight, glucose = 0.0, luck.gauss(75, 12), luck.gauss(95, 15)
    for visit in range(num_visits):
        day += luck.choice([3.0, 20.0, 60.0, 180.0]) * (0.5 + luck.random())
        weight += luck.gauss(0.2, 1)
        glucose += luck.gauss(0.5, 4)
        events += _visit(number, visit, day, weight, glucose, luck)
    if luck.random() < 0.2:
        events.append(fact(number, "death", day + 30, EventKind.DEATH, DEATH))
    return events


def _visit(
    number: int, visit: int, day: float, weight: float, glucose: float, luck: random.Random
) -> list[Event]:
    urgent = luck.random() < 0.3
    code = EMERGENCY if urgent else AMBULATORY
    name = f"visit{visit}"
    events = [
        fact(number, name, day, EventKind.ENCOUNTER, code, part="start", phase=Phase.START),
        fact(number, name, day + 0.02, EventKind.ENCOUNTER, code, part="end", phase=Phase.END),
    ]

    def observe(what: str, code: Code, value: Any, **changes: Any) -> None:
        events.append(
            fact(number, f"{what}{visit}", day, EventKind.OBSERVATION, code, value=value, **changes)
        )

    observe("weight", WEIGHT, amount(f"{weight:.1f}", "kg"), category="vital-signs")
    pressure = amount(f"{luck.gauss(125, 12):.0f}", "mm[Hg]")
    observe("pressure", PRESSURE, pressure, category="vital-signs")
    if luck.random() < 0.7:
        flags = frozenset({Flag.HIGH}) if glucose > 110 else frozenset()
        observe(
            "glucose",
            GLUCOSE,
            amount(f"{glucose:.1f}", "mg/dL"),
            category="laboratory",
            flags=flags,
        )
    if luck.random() < 0.3:
        observe("smoking", SMOKING, NEVER)
    if luck.random() < 0.25:
        ill, drug = (DIABETES, METFORMIN) if luck.random() < 0.5 else (ASTHMA, INHALER)
        events.append(fact(number, f"ill{visit}", day, EventKind.CONDITION, ill, phase=Phase.START))
        events.append(fact(number, f"drug{visit}", day + 0.01, EventKind.MEDICATION_REQUEST, drug))
    return events


def made_up(number: int, num_visits: int = 12) -> Timeline:
    return Timeline.of(patient_id(number), made_up_events(number, num_visits))


def living(numbers: range) -> list[Timeline]:
    """Patients of whom no death is on record."""
    timelines = [made_up(number) for number in numbers]
    return [t for t in timelines if all(e.kind is not EventKind.DEATH for e in t)]


def long_timeline(num_events: int) -> Timeline:
    """One patient measured every two hours."""
    events = [
        fact(
            7,
            f"w{place}",
            place / 12,
            EventKind.OBSERVATION,
            WEIGHT,
            value=amount(70 + place % 9, "kg"),
        )
        for place in range(num_events)
    ]
    return Timeline.of(patient_id(7), events)


def question(timeline: Timeline, **changes: Any) -> tuple[PredictionRequest, Timeline]:
    """What is asked of the model about this timeline, as of its newest event."""
    fields: dict[str, Any] = {
        "prediction_id": UUID(int=5),
        "patient_id": timeline.patient_id,
        "as_of": timeline.known_until or START,
        "received_by": LATER,
    }
    return PredictionRequest(**(fields | changes)), timeline


def retracted(event: Event, *, updated: float) -> Event:
    """The event withdrawn by its source."""
    from dataclasses import replace

    source = replace(
        event.source,
        digest=hashlib.sha256(f"{event.source.digest} withdrawn".encode()).hexdigest(),
        updated_at=START + timedelta(days=updated),
    )
    return replace(event, source=source, standing=Standing.RETRACTED)
