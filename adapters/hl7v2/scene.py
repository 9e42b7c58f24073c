"""One message while it is read: whose it is, when it was written, and how its facts become events.

Knows how HL7's identifiers, times and codes become the timeline's. Does not know any one kind of message.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote
from uuid import UUID
from zoneinfo import ZoneInfo

from adapters.hl7v2 import codes, times
from adapters.hl7v2.errors import Reason, SegmentError
from adapters.hl7v2.message import Message, Repetition, Segment
from adapters.sites.hl7v2 import Hl7v2Sender
from clinical.services.delivery import Delivery, Quarantined, Reading
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.event import Event, EventKind, EventValue, Flag, Phase, Source, Standing
from clinical.timeline.patient import PatientRef
from clinical.timeline.time import ClinicalTime, ImpossibleTimeError

NO_FLAGS: frozenset[Flag] = frozenset()


@dataclass(slots=True, kw_only=True)
class Scene:
    """A delivery, its message and its sender's rules; `written_at` is when the sender made the message."""

    delivery: Delivery
    message: Message
    sender: Hl7v2Sender
    reading: Reading = field(default_factory=Reading)
    zone: ZoneInfo | None = field(init=False)
    written_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        """Raises SegmentError where MSH-7 is no time."""
        self.zone = ZoneInfo(self.sender.time_zone) if self.sender.time_zone else None
        self.written_at = self.known(self.message.header, 7) or self.delivery.received_at

    def count(self, what: str) -> None:
        """Count something for the report."""
        self.reading.counts[what] += 1

    def set_aside(self, position: str, error: SegmentError) -> None:
        """Quarantine a segment, or the message."""
        self.reading.quarantined.append(
            Quarantined(
                position=position,
                record_type=self.message.kind,
                record_id="",
                digest=self.delivery.digest,
                reason_code=error.reason.value,
                detail=error.detail,
            )
        )

    def patient_in(self, segment: Segment | None, field_number: int, name: str) -> PatientRef:
        """The patient that a list of identifiers (PID-3, MRG-1) names by the authority of the sender's rules.

        Raises:
            SegmentError: none of the identifiers is of that authority, or several differing ones are.
        """
        if segment is None:
            raise SegmentError(Reason.MISSING_SEGMENT, f"{name}: the message has no such segment")
        path = f"{segment.name}-{field_number}"
        found = {
            each.text(1)
            for each in segment.repetitions(field_number)
            if each.text(1) and self._is_ours(each)
        }
        if not found:
            raise SegmentError(
                Reason.MISSING_PATIENT, f"{path}: no identifier is of the authority of this sender"
            )
        if len(found) > 1:
            raise SegmentError(
                Reason.AMBIGUOUS_PATIENT, f"{path}: several identifiers are of that authority"
            )
        ref = PatientRef(self.delivery.site, found.pop())
        self.reading.patients[ref.patient_id] = ref
        return ref

    def _is_ours(self, identifier: Repetition) -> bool:
        authority = [part for part in identifier.parts(4)[:2] if part]
        wanted, kind = self.sender.patient_authority, self.sender.patient_type
        is_authority = wanted in authority if wanted else not authority
        return is_authority and kind in ("", identifier.text(5))

    def time(self, segment: Segment, field_number: int) -> ClinicalTime | None:
        """A time; None where it is not stated, or null. Raises SegmentError where no calendar has it."""
        return self.text_time(segment.text(field_number), f"{segment.name}-{field_number}")

    def text_time(self, text: str, path: str) -> ClinicalTime | None:
        """The same for a text that was found at `path`."""
        if not text:
            return None
        try:
            return times.clinical_time(text, self.zone)
        except ImpossibleTimeError as error:
            raise SegmentError(Reason.IMPOSSIBLE_TIME, f"{path}: {error}") from error

    def known(self, segment: Segment, field_number: int) -> datetime | None:
        """The moment from which something was surely known, given when it was written down."""
        stated = self.time(segment, field_number)
        return None if stated is None else times.known_by(stated, self.delivery.received_at)

    def source(self, record_type: str, record_id: str) -> Source:
        """This message as a version of a record."""
        return Source(
            site=self.delivery.site,
            record_type=record_type,
            record_id=record_id,
            version=self.message.header.text(10),
            digest=self.delivery.digest,
            delivery_id=self.delivery.delivery_id,
            updated_at=self.written_at,
        )

    def names(self, element: Repetition, path: str) -> tuple[Code, ...]:
        """All that a coded element is called; what is not of a known terminology is counted.

        Raises:
            SegmentError: it says nothing.
        """
        found = codes.codes_of(element)
        if not found:
            raise SegmentError(Reason.MISSING_CODE, f"{path}: it is not said what this is of")
        for one in found:
            self.count_unmapped(one)
        return found

    def count_unmapped(self, one: Code) -> None:
        """Count a code of a terminology that is not known by name."""
        if one.system is CodeSystem.TEXT:
            self.count("unmapped_system:(words only)")
        elif not isinstance(one.system, CodeSystem):
            self.count(f"unmapped_system:{one.system or '(none)'}")

    def add(  # noqa: PLR0913 - the sides of an event that kinds differ in
        self,
        kind: EventKind,
        names: tuple[Code, ...],
        *,
        patient_id: UUID,
        source: Source,
        occurred_at: ClinicalTime | None,
        recorded_at: datetime | None,
        part: str = "",
        phase: Phase = Phase.POINT,
        standing: Standing = Standing.ASSERTED,
        value: EventValue = None,
        status: str = "",
        category: str = "",
        encounter: str = "",
        absent_reason: str = "",
        flags: frozenset[Flag] = NO_FLAGS,
    ) -> None:
        """Keep an event, known no earlier than it happened and no earlier than it was written."""
        if recorded_at is not None:
            if occurred_at is not None and recorded_at < occurred_at.earliest:
                recorded_at = None
            elif recorded_at > self.delivery.received_at:
                flags |= {Flag.FUTURE_RECORDED}
        name = names[0]
        if not isinstance(name.system, CodeSystem) or name.system is CodeSystem.TEXT:
            flags |= {Flag.UNMAPPED_CODE}
        self.reading.events.append(
            Event(
                patient_id=patient_id,
                kind=kind,
                code=name,
                source=source,
                received_at=self.delivery.received_at,
                occurred_at=occurred_at,
                recorded_at=recorded_at,
                part=part,
                phase=phase,
                standing=standing,
                value=value,
                other_codes=names[1:],
                status=status,
                category=category,
                encounter=encounter,
                absent_reason=absent_reason,
                flags=flags,
            )
        )


def visit_of(segment: Segment | None) -> str:
    """The visit number (PV1-19) of a patient visit, fit for a reference; empty where none is stated."""
    return "" if segment is None else quote(segment.text(19), safe="")


def word(text: str) -> str:
    """A word of one of HL7's tables, fit to be counted by; whatever else a sender put there is not."""
    if not text:
        return "(none)"
    return text if text.isascii() and text.isalnum() and len(text) <= 4 else "(other)"


def order_numbers(
    segments: Iterable[Segment | None], sides: Iterable[tuple[str, int]]
) -> Iterator[str]:
    """What an order is called, by whom first (a side and its field), in which segment first."""
    looked_at = [segment for segment in segments if segment is not None]
    for side, at in sides:
        for segment in looked_at:
            number = segment.first(at)
            if number.text(1):
                namespace = number.text(2) or number.text(3)
                yield ":".join(quote(each, safe="") for each in (side, namespace, number.text(1)))
