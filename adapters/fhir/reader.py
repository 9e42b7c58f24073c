"""The two lanes from a delivery to events. They differ in who looks first, and end in the same functions.

The strict lane holds every record to `fhir.resources` before it is read. The fast lane reads at
once, and asks `fhir.resources` for the reason where it cannot. Neither raises for a bad record.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec
from msgspec import Struct

from adapters.fhir import deletions, kinds, validation
from adapters.fhir.body import opened
from adapters.fhir.bundle import NDJSON, NUL, SINGLE, Slice, lines, slices
from adapters.fhir.errors import DeliveryError, Reason, RecordError
from adapters.fhir.inbound.encounter import Encounter
from adapters.fhir.inbound.medication import Medication, product
from adapters.fhir.inbound.patient import Patient
from adapters.fhir.record import Record, Scene
from adapters.fhir.references import is_valid_id
from adapters.fhir.resource import Resource
from adapters.fhir.sender_outcomes import complaint
from adapters.fhir.time import latest
from adapters.fhir.ways import NO_WAYS, NOTHING_KNOWN, SiteWays
from clinical.services.delivery import Delivery, Door, Quarantined, Reading
from clinical.timeline.event import Event, Source
from clinical.timeline.patient import PatientRef
from clinical.timeline.time import ImpossibleTimeError

MAX_NESTED_BUNDLES = 2
NO_RECORD = "(no record)"
"""What is counted as skipped where an entry only asks, or only says how something went."""


class Decoded(NamedTuple):
    """A slice and what it was found to be: a struct, a type that is not read, or a problem.

    `record_id` is the id in the record, or else that of its `urn:uuid:`; empty where neither is one.
    """

    slice: Slice
    record_type: str
    record_id: str
    record: Resource | None = None
    problem: RecordError | None = None


class _Lane:
    """What both lanes do."""

    is_strict = False

    def __init__(self, ways: Mapping[str, SiteWays] = NO_WAYS) -> None:
        """`ways`: what is known of each site.

        An absolute reference to an address that is not of the site's bases is not taken for a record
        of the site, unless the delivery itself carries what is behind it.
        """
        self._ways = ways

    def read(self, delivery: Delivery) -> Reading:
        """Understand a Bundle, a resource or lines of NDJSON; what cannot be is quarantined.

        Of every sort of Bundle each record stands alone: this is no FHIR server, what is told here
        has happened elsewhere, and one unreadable record undoes nothing (R4 section 3.1.0.11 asks
        that of the server which carries out a `transaction`).
        """
        ways = self._ways.get(delivery.site, NOTHING_KNOWN)
        scene = Scene(delivery=delivery, ways=ways)
        scene.reading.code_map = ways.code_map.digest if ways.code_map else ""
        try:
            decoded = [found for each in _records(delivery) for found in _opened(_decoded(each))]
        except DeliveryError as error:
            scene.reading.quarantined.append(_whole(delivery, error))
            return scene.reading
        if not decoded:
            scene.reading.counts["empty:delivery"] += 1
        for each in decoded:
            _introduce(each, scene)
        for each in decoded:
            try:
                _require_no_outcome(each, delivery)
                self._understand(each, scene)
            except RecordError as error:
                scene.reading.quarantined.append(_quarantined(each, error))
        return scene.reading

    def _understand(self, each: Decoded, scene: Scene) -> None:
        """Keep the events of one record.

        Raises:
            RecordError: the reason is what `fhir.resources` finds wrong, unless ours says it clearer.
        """
        deletion = each.slice.deletion
        if deletion is not None:
            withdrawn = deletions.withdrawn(deletion, scene.delivery, scene.ways.prefixes)
            scene.reading.withdrawn.append(withdrawn)
            scene.reading.counts[f"deleted:{withdrawn.source.record_type}"] += 1
            return
        theirs = _disputed(each) if self.is_strict else None
        scene.pending.clear()
        scene.merged.clear()
        try:
            events = _events(each, scene)
        except RecordError as ours:
            theirs = theirs or _disputed(each)
            is_clear = theirs is not None and theirs.reason is not Reason.INVALID
            raise (theirs if theirs and is_clear else ours) from None
        if theirs is not None:
            raise theirs
        if events is None:
            scene.reading.counts[f"skipped:{each.record_type or NO_RECORD}"] += 1
        elif _is_of_another(events, scene.delivery):
            raise RecordError(Reason.OTHER_PATIENT, "the record is not of whom was asked about")
        else:
            scene.keep(each.record_type, events)


class StrictReader(_Lane):
    """Door.FHIR: every record is held to `fhir.resources.R4B` before it is read."""

    is_strict = True


class BulkReader(_Lane):
    """Door.FHIR_BULK: only what the structs dispute goes through `fhir.resources`."""


def _records(delivery: Delivery) -> list[Slice]:
    problem = delivery.context.get("problem")
    if problem is not None:
        raise DeliveryError(Reason(problem), "the file could not be read to its end")
    if delivery.context.get("method") == "DELETE":
        return [deletions.addressed(delivery)]
    text = opened(delivery.body, is_gzip=delivery.context.get("encoding") == "gzip")
    if delivery.content_type == NDJSON:
        return lines(text, int(delivery.context.get("first_line", "1")))
    return slices(text)


def _opened(found: Decoded, levels: int = MAX_NESTED_BUNDLES) -> Iterator[Decoded]:
    """A record, or the records of a Bundle inside a Bundle: what a batch of searches is answered with."""
    if found.record_type != "Bundle" or not levels:
        yield found
        return
    outer = found.slice
    try:
        inner = slices(bytes(outer.raw), f"{outer.position}.")
    except DeliveryError as error:
        yield found._replace(problem=error)
        return
    for each in inner:
        yield from _opened(_decoded(each), levels - 1)


def _decoded(each: Slice) -> Decoded:
    raw = each.raw
    if not raw:
        return _without_resource(each)
    if each.is_json and (unread := kinds.plainly_unread(raw)):
        return Decoded(each, unread, "")
    try:
        record = kinds.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Decoded(each, *_named(bytes(raw)), problem=validation.described(error))
    record_type = kinds.TYPE_OF[type(record)]
    if isinstance(record, kinds.Unread):
        return Decoded(each, record_type, "", problem=_nested(record_type))
    record_id = _id_of(record, each)
    if each.may_hold_nul and NUL in bytes(raw):
        problem = RecordError(Reason.FORBIDDEN_CHARACTER, "the record holds the character NUL")
        return Decoded(each, record_type, record_id, None, problem)
    return Decoded(each, record_type, record_id, record)


def _without_resource(each: Slice) -> Decoded:
    if each.deletion is not None:
        return Decoded(each, *deletions.named(each.deletion))
    if each.is_no_record:
        return Decoded(each, "", "")
    problem = RecordError(Reason.ENTRY_WITHOUT_RESOURCE, "the entry carries no resource")
    return Decoded(each, "", "", problem=problem)


def _id_of(record: Resource, each: Slice) -> str:
    if record.id is not None:
        return record.id if is_valid_id(record.id) else ""
    if each.full_url.startswith("urn:uuid:"):
        urn = each.full_url[len("urn:uuid:") :]
        return urn if is_valid_id(urn) else ""
    return ""


def _nested(record_type: str) -> RecordError | None:
    if record_type != "Bundle":
        return None
    return RecordError(Reason.NESTED_BUNDLE, "Bundles inside Bundles inside Bundles: not opened")


def _introduce(each: Decoded, scene: Scene) -> None:
    """Remember what a record is called, before any other refers to it."""
    if each.record_type:
        if each.slice.full_url:
            scene.link(each.slice.full_url, (each.record_type, each.record_id))
        if isinstance(each.record, Medication) and (concept := product(each.record)):
            scene.medications["Medication", each.record_id] = concept


def _source(each: Decoded, record: Resource, scene: Scene) -> Source:
    digest = hashlib.sha256(each.slice.raw).hexdigest()
    record_id = each.record_id
    if not record_id:
        if record.id is not None:
            raise RecordError(Reason.BAD_ID, "id: 1 to 64 letters, digits, hyphens or dots")
        if isinstance(record, Patient | Encounter):
            raise RecordError(Reason.MISSING_ID, "id: without it nothing can refer to the record")
        record_id = f"sha256-{digest[:57]}"  # no id was given: the bytes name it
    meta = record.meta
    try:
        updated_at = latest(meta.lastUpdated) if meta and meta.lastUpdated else None
    except ImpossibleTimeError as error:
        raise RecordError(Reason.IMPOSSIBLE_TIME, f"meta.lastUpdated: {error}") from error
    delivery = scene.delivery
    if delivery.context:
        _check_address(each, delivery)
    return Source(
        site=delivery.site,
        record_type=each.record_type,
        record_id=record_id,
        version=(meta.versionId or "") if meta else "",
        digest=digest,
        delivery_id=delivery.delivery_id,
        updated_at=updated_at,
    )


def _check_address(each: Decoded, delivery: Delivery) -> None:
    """Refuse a PUT to one address of a record that says it is another."""
    if each.slice.position != SINGLE:
        return
    stated = delivery.context.get("type"), delivery.context.get("id")
    for said, found in zip(stated, (each.record_type, each.record_id), strict=True):
        if said and said != found:
            raise RecordError(Reason.ID_MISMATCH, "id: not the one that it was sent to")


def _events(each: Decoded, scene: Scene) -> list[Event] | None:
    """The events of a record; None where it carries none by design."""
    if each.problem is not None:
        raise each.problem
    record = each.record
    if record is None or isinstance(record, Medication):
        return None
    source = _source(each, record, scene)
    if record.implicitRules or record.modifierExtension:
        raise RecordError(Reason.UNKNOWN_MODIFIER, "modifierExtension: not understood")
    return kinds.READ[type(record)](record, Record(scene, source))


def _require_no_outcome(each: Decoded, delivery: Delivery) -> None:
    """Surface what an EHR says of its own answer, such as what it left out of a search.

    Oracle Health leaves out what it holds to be malformed and says so inline (03, section 2.3).
    """
    if each.record_type == "OperationOutcome" and (
        delivery.door is Door.FHIR_FETCHED or delivery.context.get("bulk_file") == "error"
    ):
        said = complaint(bytes(each.slice.raw))
        if said is not None:
            raise RecordError(Reason.SENDER_OUTCOME, f"the sender says of its answer: {said}")


def _is_of_another(events: list[Event], delivery: Delivery) -> bool:
    """Whether records of one patient were asked for, and this is of another's compartment."""
    asked = delivery.context.get("compartment")
    if asked is None or not events:
        return False
    return events[0].patient_id != PatientRef(delivery.site, asked).patient_id


def _disputed(each: Decoded) -> RecordError | None:
    """What `fhir.resources` finds wrong with a record of a type that is read."""
    if each.record is None and each.problem is None:
        return None
    raw = bytes(each.slice.raw)
    if not raw or not each.record_type or isinstance(each.record, Medication):
        return None
    try:
        validation.validate(each.record_type, raw)
    except RecordError as found:
        return found
    return None


def _quarantined(each: Decoded, error: RecordError) -> Quarantined:
    return Quarantined(
        position=each.slice.position,
        record_type=each.record_type,
        record_id=each.record_id,
        digest=hashlib.sha256(each.slice.raw).hexdigest(),
        reason_code=error.reason.value,
        detail=error.detail,
    )


class _Name(Struct):
    resourceType: str = ""  # noqa: N815 - FHIR's spelling
    id: str = ""


_NAME = msgspec.json.Decoder(_Name)


def _named(raw: bytes) -> tuple[str, str]:
    """Type and id of a record that could not be read, as far as they are plain."""
    try:
        name = _NAME.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", ""
    is_type = name.resourceType in kinds.TYPE_OF.values()
    return (name.resourceType if is_type else ""), (name.id if is_valid_id(name.id) else "")


def _whole(delivery: Delivery, error: DeliveryError) -> Quarantined:
    return Quarantined(
        position="",
        record_type="",
        record_id="",
        digest=delivery.digest,
        reason_code=error.reason.value,
        detail=error.detail,
    )
