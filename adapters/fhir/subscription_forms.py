"""A Subscription as it is written, in three forms: R4's criteria, the backport of topics to R4 and R4B, R5.

Knows what the sites file states of it. Does not talk to anybody.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from adapters.egress.peer import Peer
from adapters.fhir.assessment import URI_SYSTEM
from adapters.fhir.source import FHIR_JSON
from adapters.fhir.subscription import Reader
from adapters.sites.subscriptions import StaticHeader, Subscription
from clinical.errors import RejectedError
from clinical.subscription.plan import SubscriptionPlan

_BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
_CHANNEL_TYPE = "http://terminology.hl7.org/CodeSystem/subscription-channel-type"


class NoPublicUrlError(RejectedError):
    """Nobody said where EHRs reach this service, so none can be told where to notify."""

    code = "subscription.no_public_url"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One subscription with the server that keeps it; `endpoint` is our address.

    As the EHR calls it; empty where nobody said where we are.
    """

    peer: Peer
    stated: Subscription
    plan: SubscriptionPlan
    endpoint: str
    reader: Reader

    @property
    def address(self) -> str:
        """The endpoint; raises NoPublicUrlError."""
        if not self.endpoint:
            raise NoPublicUrlError("set CLINICAL_PUBLIC_URL: the EHR must know where to notify")
        return self.endpoint


def resource_of(channel: Channel, ends_at: datetime | None) -> dict[str, Any]:
    """The Subscription as it is to be written, in the site's form."""
    stated = channel.stated
    end = {} if ends_at is None else {"end": _instant(ends_at)}
    if stated.form == "r5":
        return {**_r5(channel), **end}
    resource: dict[str, Any] = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": stated.reason,
        "criteria": stated.topic,
        **end,
        "channel": _r4_channel(channel),
    }
    if stated.form == "backport":
        resource["meta"] = {"profile": [f"{_BACKPORT}/backport-subscription"]}
        if stated.filters:
            filters = [_extension("filter-criteria", valueString=each) for each in stated.filters]
            resource["_criteria"] = {"extension": filters}
    return resource


def _r4_channel(channel: Channel) -> dict[str, Any]:
    stated = channel.stated
    found: dict[str, Any] = {"type": "rest-hook", "endpoint": channel.address}
    if stated.form == "backport" or stated.content != "empty":
        found["payload"] = FHIR_JSON
    if headers := _headers(stated):
        found["header"] = [f"{name}: {value}" for name, value in headers]
    if stated.form == "backport":
        content = _extension("payload-content", valueCode=stated.content)
        found["_payload"] = {"extension": [content]}
        lengths = {
            "heartbeat-period": ("valueUnsignedInt", stated.heartbeat_seconds),
            "timeout": ("valueUnsignedInt", stated.timeout_seconds),
            "max-count": ("valuePositiveInt", stated.max_count),
        }
        found["extension"] = [
            _extension(name, **{kind: value}) for name, (kind, value) in lengths.items() if value
        ]
    return found


def _r5(channel: Channel) -> dict[str, Any]:
    stated = channel.stated
    counts = {
        "heartbeatPeriod": stated.heartbeat_seconds,
        "timeout": stated.timeout_seconds,
        "maxCount": stated.max_count,
    }
    return {
        "resourceType": "Subscription",
        "identifier": [{"system": URI_SYSTEM, "value": identifier_of(channel)}],
        "name": channel.plan.name,
        "status": "requested",
        "topic": stated.topic,
        "reason": stated.reason,
        "filterBy": [each for stated_filter in stated.filters for each in _filters(stated_filter)],
        "channelType": {"system": _CHANNEL_TYPE, "code": "rest-hook"},
        "endpoint": channel.address,
        "parameter": [{"name": name, "value": value} for name, value in _headers(stated)],
        "contentType": FHIR_JSON,
        "content": stated.content,
        **{name: value for name, value in counts.items() if value},
    }


def _filters(stated: str) -> list[dict[str, str]]:
    """`Type?parameter=value&…` as R5 says it."""
    kind, _, query = stated.rpartition("?")
    of_type = {"resourceType": kind} if kind else {}
    return [
        {**of_type, "filterParameter": name, "value": value} for name, value in parse_qsl(query)
    ]


def _headers(stated: Subscription) -> list[tuple[str, str]]:
    """What the EHR is to send with each notification."""
    if isinstance(stated.proof, StaticHeader):
        return [(stated.proof.name, stated.proof.values[0].value)]
    return []


def identifier_of(channel: Channel) -> str:
    """What R5 calls it by."""
    return f"urn:uuid:{channel.plan.subscription_id}"


def _extension(name: str, **value: object) -> dict[str, object]:
    return {"url": f"{_BACKPORT}/backport-{name}", **value}


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
