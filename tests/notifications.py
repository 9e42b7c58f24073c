"""Notifications in the forms that servers send, made by hand from the facts."""

import json
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]
BASE = "https://ehr.north.example/fhir"


def encoded(content: Json) -> bytes:
    return json.dumps(content).encode()


def parameters(
    kind: str = "event-notification",
    *,
    numbers: Sequence[Any] = (),
    focuses: Sequence[str] = (),
    total: Any = None,
    counter: str = "valueString",
    **more: Any,
) -> Json:
    """A status as the backport says it in R4."""
    events = [
        {
            "name": "notification-event",
            "part": [
                {"name": "event-number", counter: number},
                {"name": "timestamp", "valueInstant": "2026-03-29T00:20:00Z"},
                *(
                    [{"name": "focus", "valueReference": {"reference": focuses[at]}}]
                    if at < len(focuses)
                    else []
                ),
            ],
        }
        for at, number in enumerate(numbers)
    ]
    reference = more.get("subscription", f"{BASE}/Subscription/s1")
    stated = [
        {"name": "subscription", "valueReference": {"reference": reference}},
        {"name": "topic", "valueCanonical": "http://north.example/topic"},
        {"name": "status", "valueCode": more.get("status", "active")},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", counter: total},
        *events,
        *({"name": "error", "valueCodeableConcept": each} for each in more.get("errors", ())),
    ]
    return {"resourceType": "Parameters", "id": "st1", "parameter": stated}


def status(kind: str = "event-notification", **more: Any) -> Json:
    """A status as R4B and R5 say it."""
    return {
        "resourceType": "SubscriptionStatus",
        "status": "active",
        "type": kind,
        "subscription": {"reference": f"{BASE}/Subscription/s1"},
        "topic": "http://north.example/topic",
        **more,
    }


def bundle(first: Json, *entries: Json, kind: str = "history") -> Json:
    request = {"method": "GET", "url": f"{BASE}/Subscription/s1/$status"}
    begin = {"resource": first, "request": request, "response": {"status": "200"}}
    return {
        "resourceType": "Bundle",
        "type": kind,
        "timestamp": "2026-03-29T00:20:00Z",
        "entry": [begin, *entries],
    }


def named(reference: str, method: str = "PUT") -> Json:
    """An entry that names a record without sending it."""
    return {
        "fullUrl": f"{BASE}/{reference}",
        "request": {"method": method, "url": reference},
        "response": {"status": "200"},
    }


def sent(resource: Json) -> Json:
    """An entry with its record."""
    reference = f"{resource['resourceType']}/{resource['id']}"
    return {**named(reference), "resource": resource}
