"""The two lanes from a delivery to events. They differ in who looks first, and end in the same functions.

The strict lane holds every record to `fhir.resources` before it is read. The fast lane reads at
once, and asks `fhir.resources` for the reason where it cannot. Neither raises for a bad record.
"""

import hashlib
from typing import NamedTuple

import msgspec
from msgspec import Struct

from adapters.fhir import kinds, validation
from adapters.fhir.body import check_depth, opened
from adapters.fhir.bundle import NDJSON, Slice, lines, slices
from adapters.fhir.errors import DeliveryError, Reason, RecordError
from adapters.fhir.inbound.encounter import Encounter
from adapters.fhir.inbound.medication import Medication
from adapters.fhir.inbound.patient import Patient
from adapters.fhir.record import Record, Scene
from adapters.fhir.references import is_valid_id
from adapters.fhir.resource import Resource
from adapters.fhir.time import latest
from clinical.services.delivery import Delivery, Quarantined, Reading
from clinical.timeline.event import Event, Source
from clinical.timeline.time import ImpossibleTimeError

_NUL = rb"\u0000"  # no character of FHIR's strings, and no database stores it


class Decoded(NamedTuple):
    """A slice with its digest, and the struct of it or what was wrong."""

    slice: Slice
    digest: str
    record: Resource | kinds.Unread | None
    problem: RecordError | None

    @property
    def record_type(self) -> str:
        """The type, as far as it is known."""
        return kinds.TYPE_OF.get(type(self.record), "") if self.record is not None else ""

    @property
    def record_id(self) -> str:
        """The id in the record, or that of its `urn:uuid:`, where it has one."""
        stated = self.record.id if self.record is not None else None
        if isinstance(stated, str):
            return stated if is_valid_id(stated) else ""
        urn = self.slice.full_url.removeprefix("urn:uuid:")
        return urn if urn != self.slice.full_url and is_valid_id(urn) else ""


class _Lane:
    """What both lanes do."""

    is_strict = False

    def read(self, delivery: Delivery) -> Reading:
        """Understand a Bundle, a resource or lines of NDJSON; what cannot be is quarantined."""
        scene = Scene(delivery=delivery)
        try:
            found = _records(delivery)
        except DeliveryError as error:
            scene.reading.quarantined.append(_whole(delivery, error))
            return scene.reading
        if not found:
            scene.count("empty:delivery")
        decoded = [self._decode(each) for each in found]
        for each in decoded:
            _introduce(each, scene)
        for each in decoded:
            self._understand(each, scene)
        return scene.reading

    def _decode(self, each: Slice) -> Decoded:
        raw = each.raw
        digest = hashlib.sha256(raw).hexdigest()
        if not raw:
            return Decoded(each, digest, None, _without_resource(each))
        try:
            record = kinds.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Decoded(each, digest, None, validation.described(error))
        return Decoded(each, digest, record, None)

    def _understand(self, each: Decoded, scene: Scene) -> None:
        try:
            if isinstance(each.record, kinds.Unread | Medication):
                self._skip(each, scene)
                return
            if self.is_strict and each.record is not None:
                validation.validate(each.record_type, each.slice.raw)
            events = _to_events(each, scene)
        except RecordError as error:
            scene.reading.quarantined.append(self._quarantined(each, error))
            return
        scene.reading.events += events
        scene.count(f"record:{each.record_type}")

    def _skip(self, each: Decoded, scene: Scene) -> None:
        if each.record_type == "Bundle":
            raise RecordError(Reason.NESTED_BUNDLE, "a Bundle inside a Bundle is not opened")
        scene.count(f"skipped:{each.record_type}")

    def _quarantined(self, each: Decoded, error: RecordError) -> Quarantined:
        """The reason is what `fhir.resources` finds wrong, or else what we do."""
        record_type, record_id = each.record_type, each.record_id
        raw = each.slice.raw
        if not record_type and raw:
            record_type, record_id = _named(raw)
        if raw and record_type in kinds.TYPE_OF.values() and error.reason is not Reason.TOO_DEEP:
            try:
                validation.validate(record_type, raw)
            except RecordError as found:
                error = found
        return Quarantined(
            position=each.slice.position,
            record_type=record_type,
            record_id=record_id,
            digest=each.digest,
            reason_code=error.reason.value,
            detail=error.detail,
        )


class StrictReader(_Lane):
    """Door.FHIR: every record is held to `fhir.resources.R4B` before it is read."""

    is_strict = True


class BulkReader(_Lane):
    """Door.FHIR_BULK: only what the structs dispute goes through `fhir.resources`."""


def _records(delivery: Delivery) -> list[Slice]:
    problem = delivery.context.get("problem")
    if problem is not None:
        raise DeliveryError(Reason(problem), "the file could not be read to its end")
    text = opened(delivery.body, is_gzip=delivery.context.get("encoding") == "gzip")
    if delivery.content_type == NDJSON:
        return lines(text, int(delivery.context.get("first_line", "1")))
    return slices(text)


def _introduce(each: Decoded, scene: Scene) -> None:
    """Remember what a record is called, before any other refers to it."""
    record_type, record_id = each.record_type, each.record_id
    if record_type and record_id:
        if each.slice.full_url:
            scene.links[each.slice.full_url] = (record_type, record_id)
        if isinstance(each.record, Medication) and each.record.code is not None:
            scene.medications[record_type, record_id] = each.record.code


def _to_events(each: Decoded, scene: Scene) -> list[Event]:
    record = each.record
    if not isinstance(record, Resource):
        raise each.problem or RecordError(Reason.INVALID, "the record is not readable")
    raw = each.slice.raw
    if record.implicitRules or record.modifierExtension:
        raise RecordError(Reason.UNKNOWN_MODIFIER, "modifierExtension: not understood")
    if _NUL in raw:
        raise RecordError(Reason.FORBIDDEN_CHARACTER, "the record holds the character NUL")
    check_depth(raw)
    return kinds.READ[type(record)](record, Record(scene, _source(each, record, scene)))


def _source(each: Decoded, record: Resource, scene: Scene) -> Source:
    record_id = each.record_id
    if not record_id:
        if record.id is not None:
            raise RecordError(Reason.BAD_ID, "id: 1 to 64 letters, digits, hyphens or dots")
        if isinstance(record, Patient | Encounter):
            raise RecordError(Reason.MISSING_ID, "id: without it nothing can refer to the record")
        record_id = f"sha256-{each.digest[:57]}"  # no id was given: the bytes name it
    meta = record.meta
    try:
        updated_at = latest(meta.lastUpdated) if meta and meta.lastUpdated else None
    except ImpossibleTimeError as error:
        raise RecordError(Reason.IMPOSSIBLE_TIME, f"meta.lastUpdated: {error}") from error
    return Source(
        site=scene.delivery.site,
        record_type=each.record_type,
        record_id=record_id,
        version=(meta.versionId or "") if meta else "",
        digest=each.digest,
        delivery_id=scene.delivery.delivery_id,
        updated_at=updated_at,
    )


def _without_resource(each: Slice) -> RecordError:
    if each.method == "DELETE":
        return RecordError(Reason.DELETION_NOT_READ, "a deletion names no patient: it is kept only")
    return RecordError(Reason.ENTRY_WITHOUT_RESOURCE, "the entry carries no resource")


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
