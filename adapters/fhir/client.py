"""The EHR as something that can be told: one FHIR base URL a site.

Retry-safe: what may have been stored already is looked for by our identifier first, and every create
is conditional. Knows no credentials yet: it talks to servers that need none, or through a gateway
that adds them. Follows no redirect, so that it talks to nobody but the configured base.
"""

from collections.abc import Mapping
from typing import Any

import httpx

from adapters.fhir.outbound import URI_SYSTEM, Match, identifier, write_back_bundle
from adapters.operations import requests
from clinical.errors import RejectedError
from clinical.review.writeback import WriteBack
from clinical.services.ports import EhrUnavailableError

_JSON = "application/fhir+json"
_LATER = frozenset({408, 425, 429})


class UnknownEhrError(RejectedError):
    """The site has no FHIR base URL."""

    code = "ehr.unknown_site"


class EhrRefusedError(RejectedError):
    """The EHR answered that it will not store this; asking again will not change that."""

    code = "ehr.refused"


class FhirGateway:
    """Implements the EhrGateway port over HTTP."""

    def __init__(
        self,
        base_urls: Mapping[str, str],
        *,
        timeout_seconds: float = 15.0,
        match: Match = Match.IDENTIFIER,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`base_urls` are by site, `match` for all; `transport` is for callers with a way to connect."""
        self._base_urls = {site: url.rstrip("/") for site, url in base_urls.items()}
        self._timeout_seconds = timeout_seconds
        self._match = match
        self._transport = transport

    def write_back(self, write_back: WriteBack) -> str:
        """Tell the EHR once, however often called; returns `RiskAssessment/<id>`.

        Raises:
            UnknownEhrError, EhrRefusedError, NothingToWriteBackError, EhrUnavailableError
        """
        base_url = self._base_urls.get(write_back.site)
        if base_url is None:
            raise UnknownEhrError("no FHIR base URL is configured for this site")
        bundle = write_back_bundle(write_back, self._match)
        wanted = identifier(write_back.prediction.request.prediction_id)
        with httpx.Client(
            headers={"Accept": _JSON, "Prefer": "return=minimal", **requests.headers()},
            timeout=self._timeout_seconds,
            transport=self._transport,
            follow_redirects=False,
        ) as client:
            found = self._find(client, base_url, wanted)
            if found is not None:
                return found
            answer = _ask(client, "POST", base_url, json=bundle, headers={"Content-Type": _JSON})
            stored = _location(answer) or self._find(client, base_url, wanted)
        if stored is None:
            raise EhrUnavailableError("the EHR did not say where it stored the assessment")
        return stored

    def _find(self, client: httpx.Client, base_url: str, wanted: str) -> str | None:
        """The assessment that carries our identifier, if the EHR holds it and can be searched.

        What comes back is looked at: a server may ignore a search parameter and return everything.
        """
        url = f"{base_url}/RiskAssessment"
        try:
            found = _ask(client, "GET", url, params={self._match.value: f"{URI_SYSTEM}|{wanted}"})
        except EhrRefusedError:
            return None  # no search here: the conditional create finds it
        for entry in _entries(found):
            resource = entry.get("resource")
            if isinstance(resource, dict) and _carries(resource, wanted):
                return f"RiskAssessment/{resource.get('id')}"
        return None


def _carries(resource: dict[str, Any], wanted: str) -> bool:
    identifiers = resource.get("identifier")
    return isinstance(identifiers, list) and any(
        isinstance(each, dict) and (each.get("system"), each.get("value")) == (URI_SYSTEM, wanted)
        for each in identifiers
    )


def _location(answer: dict[str, Any]) -> str | None:
    """Where the transaction's answer says that the assessment is."""
    for entry in _entries(answer):
        response = entry.get("response")
        location = response.get("location") if isinstance(response, dict) else None
        segments = str(location or "").split("/")
        if "RiskAssessment" in segments[:-1]:
            return f"RiskAssessment/{segments[segments.index('RiskAssessment') + 1]}"
    return None


def _entries(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    entries = bundle.get("entry")
    return [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []


def _ask(client: httpx.Client, method: str, url: str, **request: Any) -> dict[str, Any]:
    """One exchange; what may pass is operational, what will not is rejected."""
    try:
        answer = client.request(method, url, **request)
    except httpx.HTTPError as error:
        raise EhrUnavailableError(
            "the EHR could not be reached, or did not answer in time"
        ) from error
    is_later = answer.status_code in _LATER or answer.is_server_error
    if is_later and answer.status_code != httpx.codes.NOT_IMPLEMENTED:
        raise EhrUnavailableError(f"the EHR answered {answer.status_code}")
    if not answer.is_success:
        raise EhrRefusedError(f"the EHR answered {answer.status_code}")
    if not answer.content:
        return {}
    try:
        found = answer.json()
    except ValueError as error:
        raise EhrUnavailableError("the EHR answered with something that is no JSON") from error
    return found if isinstance(found, dict) else {}
