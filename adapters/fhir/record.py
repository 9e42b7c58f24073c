"""The ground that the events of one record, and the records of one delivery, have in common.

Knows how FHIR's references, codes and times become the timeline's. Does not know any one kind.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from adapters.fhir import codes, quantities, time
from adapters.fhir.datatypes import CodeableConcept, Period, Quantity, Range, Reference
from adapters.fhir.errors import Reason, RecordError
from adapters.fhir.references import Target, target_of
from adapters.fhir.ways import NOTHING_KNOWN, SiteWays
from clinical.services.delivery import Delivery, Merged, Reading
from clinical.timeline import quantity as timeline
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import (
    Event,
    EventKind,
    EventValue,
    Flag,
    Origin,
    Phase,
    Source,
    Standing,
)
from clinical.timeline.patient import PatientRef
from clinical.timeline.time import ClinicalTime, ImpossibleTimeError

NO_FLAGS: frozenset[Flag] = frozenset()


@dataclass(slots=True, kw_only=True)
class Scene:
    """One delivery while it is read: its site, what its Bundle carries, and the reading so far.

    `ways` is what is known of the site. `pending` is what was counted for the record at hand, `merged`
    what it says of merges. `links` maps each fullUrl to the record behind it (None where two records
    have it), `medications` the records of Medication to what they are.
    """

    delivery: Delivery
    reading: Reading = field(default_factory=Reading)
    pending: list[str] = field(default_factory=list)
    merged: list[Merged] = field(default_factory=list)
    ways: SiteWays = NOTHING_KNOWN
    links: dict[str, Target | None] = field(default_factory=dict)
    medications: dict[Target, CodeableConcept] = field(default_factory=dict)
    patient_ids: dict[str, UUID] = field(default_factory=dict)
    patients: dict[UUID, PatientRef] = field(default_factory=dict)
    last_patient_id: UUID | None = None

    def link(self, full_url: str, target: Target) -> None:
        """Remember what is behind a fullUrl; where two records claim the same, it leads to neither."""
        self.links[full_url] = target if self.links.get(full_url, target) == target else None

    def target_of(self, reference: str, path: str) -> Target:
        """The record of this site that a literal reference names; raises RecordError."""
        return target_of(reference, self.links, path, self.ways.prefixes)

    def count(self, what: str) -> None:
        """Count something for the report, if the record at hand turns out to be readable."""
        self.pending.append(what)

    def keep(self, record_type: str, events: list[Event]) -> None:
        """Take over what a readable record said, and what was counted on the way."""
        reading = self.reading
        reading.events += events
        reading.counts[f"record:{record_type}"] += 1
        if self.pending:
            reading.counts.update(self.pending)
        reading.merged += self.merged
        patient_id = events[0].patient_id  # a record is about one patient
        if patient_id is not self.last_patient_id:
            reading.patients[patient_id] = self.patients[patient_id]
            self.last_patient_id = patient_id

    def patient(self, record_id: str) -> UUID:
        """Our identity of a patient of this site, remembered for the reading."""
        ref = PatientRef(self.delivery.site, record_id)
        patient_id = ref.patient_id
        self.patients[patient_id] = ref
        return patient_id

    def patient_of(self, subject: Reference | None, path: str) -> UUID:
        """Whom a record is about.

        Raises:
            RecordError: nobody, somebody named by identifier only, or no patient.
        """
        if subject is None or (subject.reference is None and not subject.identifier):
            raise RecordError(Reason.MISSING_PATIENT, f"{path}: the record names no patient")
        if subject.reference is None:
            raise RecordError(
                Reason.LOGICAL_REFERENCE, f"{path}: the patient is named by an identifier only"
            )
        known = self.patient_ids.get(subject.reference)
        if known is not None:
            return known
        record_type, record_id = self.target_of(subject.reference, path)
        if record_type != "Patient":
            raise RecordError(Reason.SUBJECT_NOT_PATIENT, f"{path}: the subject is no patient")
        patient_id = self.patient(record_id)
        self.patient_ids[subject.reference] = patient_id
        return patient_id


class Record:
    """One record while it becomes events: where it came from and whom it is about."""

    __slots__ = ("encounter", "origin", "patient_id", "received_at", "scene", "source", "standing")

    def __init__(self, scene: Scene, source: Source) -> None:
        """Nothing is known yet of the patient, the encounter or the standing."""
        self.scene = scene
        self.source = source
        self.received_at: datetime = scene.delivery.received_at
        self.patient_id: UUID = _NOBODY
        self.encounter = ""
        self.standing = Standing.ASSERTED
        self.origin = Origin.EHR

    def about(self, subject: Reference | None, path: str = "subject") -> None:
        """Say whom the record is about; raises RecordError."""
        self.patient_id = self.scene.patient_of(subject, path)

    def during(self, encounter: Reference | None, path: str = "encounter") -> None:
        """Say during which encounter; a reference that leads to none is counted and left out."""
        if encounter is None or encounter.reference is None:
            return
        try:
            record_type, record_id = self.scene.target_of(encounter.reference, path)
        except RecordError:
            self.scene.count(f"unresolved_reference:{path}")
            return
        if record_type == "Encounter":
            self.encounter = f"Encounter/{record_id}"

    def codes(self, concept: CodeableConcept | None, path: str) -> tuple[Code, ...]:
        """All codes of a concept, the preferred one first; unknown systems are counted.

        Raises:
            RecordError: it says nothing.
        """
        found = codes.codes_of(concept) if concept is not None else ()
        if not found:
            raise RecordError(Reason.MISSING_CODE, f"{path}: the record does not say what it is of")
        meanings = self.scene.ways.meanings
        return self._with_meanings(found, meanings) if meanings else self._counted(found)

    def _with_meanings(
        self, found: tuple[Code, ...], meanings: Mapping[tuple[str, str], Code]
    ) -> tuple[Code, ...]:
        """The codes with what the site's map says of them; those that it knows are not unmapped."""
        known = {
            one: meanings[name] for one in found if (name := (one.system, one.value)) in meanings
        }
        for one in known:
            self.scene.count(f"mapped_system:{one.system or '(none)'}")
        self._counted(tuple(one for one in found if one not in known))
        stated = {one.key for one in found}
        new = (meaning for meaning in known.values() if meaning.key not in stated)
        return codes.by_preference((*found, *new))

    def _counted(self, found: tuple[Code, ...]) -> tuple[Code, ...]:
        for one in found:
            if type(one.system) is not CodeSystem or one.system is CodeSystem.TEXT:
                self._count_unmapped(one)
        return found

    def first_codes(
        self, concepts: Iterable[CodeableConcept | None], path: str
    ) -> tuple[Code, ...]:
        """All codes of the first concept that says anything; raises RecordError where none does."""
        stated = (each for each in concepts if each is not None and codes.codes_of(each))
        return self.codes(next(stated, None), path)

    def optional_codes(self, concept: CodeableConcept | None) -> tuple[Code, ...]:
        """All codes of a concept that may be missing, as the sender wrote them: no map is asked."""
        return self._counted(codes.codes_of(concept)) if concept else ()

    def _count_unmapped(self, one: Code) -> None:
        is_words = one.system is CodeSystem.TEXT
        self.scene.count(
            f"unmapped_system:{'(words only)' if is_words else one.system or '(none)'}"
        )

    def quantity(self, amount: Quantity | None, path: str) -> timeline.Quantity | None:
        """An amount; an unknown unit is counted."""
        found = quantities.quantity(amount, path) if amount is not None else None
        if found is not None and found.unit is None:
            self.count_unit(found.unit_text)
        return found

    def range(self, stated: Range, path: str) -> timeline.QuantityRange | None:
        """A range of amounts; unknown units are counted."""
        found = quantities.quantity_range(stated, path)
        for end in (found.low, found.high) if found is not None else ():
            if end is not None and end.unit is None:
                self.count_unit(end.unit_text)
        return found

    def count_unit(self, text: str) -> None:
        """Count a unit that is not UCUM."""
        self.scene.count(f"unmapped_unit:{text or '(none)'}")

    def time(self, text: str | None, path: str) -> ClinicalTime | None:
        """A FHIR time; raises RecordError where no calendar has it."""
        if text is None:
            return None
        try:
            return time.clinical_time(text)
        except ImpossibleTimeError as error:
            raise RecordError(Reason.IMPOSSIBLE_TIME, f"{path}: {error}") from error

    def known(self, text: str | None, path: str) -> datetime | None:
        """The moment from which something was surely known, given when it was written down."""
        stated = self.time(text, path)
        return None if stated is None else stated.latest

    def period(self, period: Period | None, path: str) -> ClinicalTime | None:
        """A stretch of time as one; raises RecordError where it is impossible or reversed."""
        if period is None:
            return None
        start, end = self.ends(period, path)
        if start is None or end is None:
            return start or end
        return time.interval(period.start, period.end)

    def ends(
        self, period: Period | None, path: str
    ) -> tuple[ClinicalTime | None, ClinicalTime | None]:
        """Both ends of a period; raises RecordError where it is impossible or reversed."""
        if period is None:
            return None, None
        start = self.time(period.start, f"{path}.start")
        end = self.time(period.end, f"{path}.end")
        if start is not None and end is not None and end.latest < start.earliest:
            raise RecordError(Reason.PERIOD_REVERSED, f"{path}: the period ends before it starts")
        return start, end

    def event(  # noqa: PLR0913 - the sides of an event that kinds differ in
        self,
        kind: EventKind,
        names: tuple[Code, ...],
        *,
        occurred_at: ClinicalTime | None,
        recorded_at: datetime | None = None,
        part: str = "",
        phase: Phase = Phase.POINT,
        value: EventValue = None,
        status: str = "",
        category: str = "",
        absent_reason: str = "",
        flags: frozenset[Flag] = NO_FLAGS,
    ) -> Event:
        """An event of this record, known no earlier than it happened and no earlier than it was written.

        A record said to be written before it happened is known from when it had happened; one
        without any time from when its sender last changed it.
        """
        if recorded_at is None:
            if occurred_at is None:
                recorded_at = self.source.updated_at
        elif occurred_at is not None and recorded_at < occurred_at.earliest:
            recorded_at = None
        if recorded_at is not None and recorded_at > self.received_at:
            flags |= {Flag.FUTURE_RECORDED}
        name = names[0]
        if type(name.system) is not CodeSystem or name.system is CodeSystem.TEXT:
            flags |= {Flag.UNMAPPED_CODE}
        return Event(
            patient_id=self.patient_id,
            kind=kind,
            code=name,
            source=self.source,
            received_at=self.received_at,
            occurred_at=occurred_at,
            recorded_at=recorded_at,
            part=part,
            phase=phase,
            standing=self.standing,
            origin=self.origin,
            value=value,
            other_codes=names[1:],
            status=status,
            category=category,
            encounter=self.encounter,
            absent_reason=absent_reason,
            flags=flags,
        )

    def end_event(
        self,
        kind: EventKind,
        names: tuple[Code, ...],
        *,
        ended_at: ClinicalTime | None,
        recorded_at: datetime | None = None,
        value: EventValue = None,
        status: str = "",
        category: str = "",
    ) -> Event:
        """The end of a lasting fact: known when it ended, or when it was written down if that was later."""
        if ended_at is not None and recorded_at is not None and recorded_at <= ended_at.latest:
            recorded_at = None
        return self.event(
            kind,
            names,
            occurred_at=ended_at,
            recorded_at=recorded_at if ended_at is not None else None,
            part="end",
            phase=Phase.END,
            value=value,
            status=status,
            category=category,
        )

    def revised(self, recorded_at: datetime | None) -> datetime | None:
        """When a version that corrects or withdraws an earlier one was written: no earlier than it was changed."""
        changed = self.source.updated_at
        if changed is None or recorded_at is None:
            return changed or recorded_at
        return max(changed, recorded_at)


_NOBODY = UUID(int=0)


def only_one(path: str, *values: object) -> None:
    """Refuse two values for one `[x]` element; raises RecordError."""
    if len(values) - values.count(None) > 1:
        raise RecordError(Reason.TWO_VALUES, f"{path}: only one type of value may be given")


def first_code(concepts: list[CodeableConcept] | None) -> str:
    """The sender's own word for the first category: a code, or else nothing."""
    for concept in concepts or ():
        for coding in concept.coding or ():
            if coding.code:
                return coding.code
    return ""
