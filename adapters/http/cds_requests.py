"""A CDS Hooks call as it came: checked against the specification, and what its prefetch amounts to.

A refusal names the member and the rule, never a value, nor the name of a member that nobody asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from msgspec import Raw
from pydantic import BaseModel, ValidationError

from adapters.http.cds_schemas import CONTEXTS, Hook, HookCall, PatientContext
from clinical.errors import RejectedError

Shape = TypeVar("Shape", bound=BaseModel)
PATIENT = "patient"
"""The key under which every service asks for the Patient."""


class InvalidCallError(RejectedError):
    """The call does not fit CDS Hooks.

    `places` says where, and by which rule.
    """

    code = "cds.invalid_call"

    def __init__(self, places: list[tuple[str, str]]) -> None:
        """Of each fault the member and the rule."""
        first, rule = places[0]
        super().__init__(f"{first}: {rule}")
        self.places = places


class UnknownServiceError(RejectedError):
    """No service of this id answers this hook."""

    code = "cds.unknown_service"


class ForeignServerError(RejectedError):
    """The FHIR server that the call names is not that of the site."""

    code = "cds.foreign_server"


class PrefetchUnsatisfiedError(RejectedError):
    """Nothing is held about the patient, and the call did not bring the Patient either."""

    code = "cds.prefetch_unsatisfied"


class Fetched(StrEnum):
    """What a prefetch value is."""

    MISSING = "missing"  # the key is not there: the client did not fetch it
    NO_DATA = "no_data"  # null: it was asked for, and there is none
    FAILED = "failed"  # an OperationOutcome: it could not be fetched
    WHOLE = "whole"
    PARTLY = "partly"  # a page of a Bundle; the rest is elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefetched:
    """What came under one key. `body` holds the bytes of the resource as they came, or nothing."""

    fetched: Fetched
    resource_type: str = ""
    resource_id: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call that fits the specification. `drafts` are the bytes of its draft orders."""

    hook: Hook
    call: HookCall
    context: PatientContext
    prefetch: Mapping[str, Prefetched]
    drafts: bytes = b""

    @property
    def is_patient_there(self) -> bool:
        """Whether the prefetch brought the Patient that the call is about."""
        brought = self.prefetch[PATIENT]
        is_it = brought.resource_type == "Patient"
        return is_it and brought.resource_id == self.context.record_id

    @property
    def is_patient_absent(self) -> bool:
        """Whether the EHR says that it has no such patient."""
        return self.prefetch[PATIENT].fetched is Fetched.NO_DATA


class _Context(msgspec.Struct):
    draftOrders: Raw = Raw()  # noqa: N815 - the specification's spelling


class _Call(msgspec.Struct):
    context: _Context = msgspec.field(default_factory=_Context)
    prefetch: dict[str, Raw] | None = None


class _Linked(msgspec.Struct):
    relation: str = ""


class _Resource(msgspec.Struct):
    resourceType: str  # noqa: N815
    id: str = ""
    link: list[_Linked] = []
    entry: list[Raw] = []


_CALL = msgspec.json.Decoder(_Call)
_RESOURCE = msgspec.json.Decoder(_Resource)


def read_call(body: bytes, wanted: Mapping[str, str], hooks: frozenset[Hook]) -> Asked:
    """The call in these bytes, for a service of these hooks that asks for the prefetch `wanted`.

    Raises:
        InvalidCallError, UnknownServiceError
    """
    call = validated(HookCall, body)
    hook = _hook(call.hook, hooks)
    context = _within("context", CONTEXTS[hook], call.context)
    try:
        raw = _CALL.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidCallError([("$", "not JSON as the specification has it")]) from error
    return Asked(
        hook=hook,
        call=call,
        context=context,
        prefetch=_prefetched(raw.prefetch or {}, wanted),
        drafts=bytes(raw.context.draftOrders),
    )


def _hook(named: str, hooks: frozenset[Hook]) -> Hook:
    if named not in hooks:
        raise UnknownServiceError("no service of this id answers this hook")
    return Hook(named)


def validated(shape: type[Shape], body: bytes) -> Shape:
    """The bytes as this shape; raises InvalidCallError."""
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        raise InvalidCallError(_places(error)) from None


def _within(place: str, shape: type[Shape], values: dict[str, Any]) -> Shape:
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        raise InvalidCallError([(f"{place}.{at}", rule) for at, rule in _places(error)]) from None


def _places(error: ValidationError) -> list[tuple[str, str]]:
    """Pydantic's own words may quote what was sent; its rules do not, nor do ours."""
    found = []
    for item in error.errors(include_url=False, include_input=False):
        ours = item["msg"] if item["type"] == "value_error" else item["type"]
        place = ".".join(str(step) for step in item["loc"]) or "$"
        found.append((place, ours.removeprefix("Value error, ")))
    return found


def _prefetched(sent: Mapping[str, Raw], wanted: Mapping[str, str]) -> dict[str, Prefetched]:
    if _is_unkeyed(sent):
        sent = {}
    read = {key: _value(raw, key if key in wanted else "?") for key, raw in sent.items()}
    return {key: read.get(key, Prefetched(fetched=Fetched.MISSING)) for key in wanted}


def _is_unkeyed(sent: Mapping[str, Raw]) -> bool:
    """Whether a resource stands where keys should: nothing was asked for under its members' names."""
    return "resourceType" in sent and bytes(sent["resourceType"]).startswith(b'"')


def _value(raw: Raw, key: str) -> Prefetched:
    body = bytes(raw)
    if body == b"null":
        return Prefetched(fetched=Fetched.NO_DATA)
    try:
        resource = _RESOURCE.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidCallError([(f"prefetch.{key}", "a FHIR resource, or null")]) from error
    if resource.resourceType == "OperationOutcome":
        return Prefetched(fetched=Fetched.FAILED)
    has_more = any(link.relation == "next" for link in resource.link)
    is_bundle = resource.resourceType == "Bundle"
    if is_bundle and not resource.entry:
        return Prefetched(fetched=Fetched.NO_DATA)
    is_page = is_bundle and has_more
    return Prefetched(
        fetched=Fetched.PARTLY if is_page else Fetched.WHOLE,
        resource_type=resource.resourceType,
        resource_id=resource.id,
        body=body,
    )
