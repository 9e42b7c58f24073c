"""The status in a notification: R4's Parameters or the SubscriptionStatus of R4B and R5, as one thing.

Counters are strings, integers or decimals, whatever the server writes. Knows shapes only: nothing here
says what a status means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapters.fhir.references import is_valid_id

Json = Mapping[str, Any]

_HIGHEST = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A status in one form, whichever it came in."""

    kind: str
    standing: str
    subscription: str
    total: Any
    events: Sequence["StatusEvent"]
    errors: Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusEvent:
    event_id: str
    number: Any
    focus: str


def status_of(resource: Json) -> Status | None:
    """The status that a resource is; None where it is none."""
    if resource.get("resourceType") == "SubscriptionStatus":
        return _of_status(resource)
    if resource.get("resourceType") == "Parameters":
        return _of_parameters(resource)
    return None


def _of_status(resource: Json) -> Status:
    return Status(
        kind=text(resource.get("type")),
        standing=text(resource.get("status")),
        subscription=_reference(resource.get("subscription")),
        total=resource.get("eventsSinceSubscriptionStart"),
        events=[
            StatusEvent(
                event_id=text(each.get("id")),
                number=each.get("eventNumber"),
                focus=_reference(each.get("focus")),
            )
            for each in objects(resource.get("notificationEvent"))
        ],
        errors=objects(resource.get("error")),
    )


def _of_parameters(resource: Json) -> Status | None:
    """Parameters whose names are those of a status, in kebab case or, as some write them, in camel case."""
    parameters = objects(resource.get("parameter"))
    single = {_kebab(each.get("name")): _value(each) for each in parameters}
    if not {"subscription", "type"} & single.keys():
        return None
    return Status(
        kind=text(single.get("type")),
        standing=text(single.get("status")),
        subscription=_reference(single.get("subscription")),
        total=single.get("events-since-subscription-start"),
        events=[
            _of_parts(each)
            for each in parameters
            if _kebab(each.get("name")) == "notification-event"
        ],
        errors=[_value(each) for each in parameters if each.get("name") == "error"],
    )


def _of_parts(parameter: Json) -> StatusEvent:
    parts = {_kebab(part.get("name")): _value(part) for part in objects(parameter.get("part"))}
    return StatusEvent(
        event_id=text(parameter.get("id")),
        number=parts.get("event-number"),
        focus=_reference(parts.get("focus")),
    )


def _value(parameter: Json) -> Any:
    return next((value for key, value in parameter.items() if key.startswith("value")), None)


def _kebab(name: object) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in text(name))


def number(value: object) -> int | None:
    """A counter in any of the forms seen: text, integer, or a decimal without a fraction."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        digits = value.strip()
        value = int(digits) if len(digits) < 20 else -1
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return int(value) if is_whole and 0 <= value <= _HIGHEST else None  # type: ignore[operator, call-overload]


def moment(value: object) -> datetime | None:
    """An instant; None where it is none, or has no zone."""
    try:
        found = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def error_codes(errors: Sequence[Any]) -> tuple[str, ...]:
    """Codes of the status's errors; what they say in words may name patients."""
    found = [
        text(coding.get("code"))
        for error in errors
        if isinstance(error, dict)
        for coding in objects(error.get("coding"))
    ]
    plain = [code for code in found if is_valid_id(code)]
    if errors and not plain:
        return ("unspecified",)
    return tuple(dict.fromkeys(plain))


def _reference(value: object) -> str:
    return text(value.get("reference")) if isinstance(value, dict) else text(value)


def text(value: object) -> str:
    """A text; empty where it is none."""
    return value if isinstance(value, str) else ""


def objects(value: object) -> list[Json]:
    """The objects in a list; none where it is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
