"""What the EHR is told, as FHIR: the model, its assessment, notices of it, and where they come from.

Knows in which order they are created and how each is found again. What is in them: `assessment.py`
and `notices.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from adapters.fhir import notices
from adapters.fhir.assessment import (
    URI_SYSTEM,
    device,
    identifier,
    is_risk,
    provenance,
    risk_assessment,
)
from adapters.sites.write_back import WriteBackChoices
from clinical.errors import RejectedError
from clinical.review.writeback import WriteBack, may_be_written_back
from clinical.timeline.identity import identity_of


class NothingToWriteBackError(RejectedError):
    """The clinician did not agree, or no risk was said: nothing may leave."""

    code = "fhir.nothing_to_write_back"


class CannotStoreError(RejectedError):
    """The EHR says that it takes none of what the site wants it to be told."""

    code = "ehr.cannot_store"


Takes = Callable[[str], bool]
"""Whether the EHR takes new resources of a type."""


class Entry(NamedTuple):
    """A resource on its way, the address under which the others refer to it, and how to find it."""

    full_url: str
    resource: dict[str, Any]
    match: str  # the search that finds it where it is held: the content of `If-None-Exist`


def entries_of(
    write_back: WriteBack, choices: WriteBackChoices, takes: Takes = lambda _: True
) -> list[Entry]:
    """What is told, in the order in which it can be created; each refers only to what is before it.

    Each carries our own identifier, as an identifier and as a tag, so that telling twice adds nothing.
    A Provenance has no identifier: it is always found by its tag. What the EHR does not take is left
    out, and the others then say in words what they would refer to.

    Raises:
        NothingToWriteBackError: nobody agreed, no risk was said, or none is high enough for a flag.
        CannotStoreError
    """
    prediction, decision = write_back.prediction, write_back.decision
    risks = [readout for readout in prediction.forecast.readouts if is_risk(readout)]
    if not risks or not may_be_written_back(prediction, decision):
        raise NothingToWriteBackError("nothing that a clinician agreed with is a risk")
    kinds = [kind for kind in choices.resources if takes(kind)]
    if not kinds:
        raise CannotStoreError("the EHR takes none of what the site wants it to be told")
    model, made_by = _made_by(write_back, choices, takes)
    url = identifier(prediction.request.prediction_id)
    scene = notices.Scene(
        write_back=write_back,
        risks=risks,
        made_by=made_by,
        assessment=url if "RiskAssessment" in kinds else "",
    )
    told = [each for kind in kinds for each in _told(kind, url, scene, choices)]
    if not told:
        raise NothingToWriteBackError("no risk reaches the limit from which the site wants a flag")
    # What others refer to comes first.
    told.sort(key=lambda each: each.full_url != url)
    if choices.has_provenance and takes("Provenance"):
        told.append(_attested(write_back, told, made_by))
    return [*model, *told]


def _told(kind: str, url: str, scene: notices.Scene, choices: WriteBackChoices) -> Iterator[Entry]:
    if kind == "RiskAssessment":
        is_range = choices.probability == "range"
        resource = risk_assessment(scene.write_back, scene.risks, scene.made_by, is_range=is_range)
        yield _entry(url, resource, choices.match)
        return
    for name, resource in notices.TELL[kind](scene, choices):
        urn = _urn(kind.lower(), f"{url}|{name}")
        resource["identifier"] = [{"system": URI_SYSTEM, "value": urn}]
        yield _entry(urn, resource, choices.match)


def transaction(entries: Sequence[Entry]) -> dict[str, Any]:
    """All of it in one exchange: the server stores the whole, or nothing."""
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": each.full_url,
                "resource": each.resource,
                "request": {
                    "method": "POST",
                    "url": each.resource["resourceType"],
                    "ifNoneExist": each.match,
                },
            }
            for each in entries
        ],
    }


def _made_by(
    write_back: WriteBack, choices: WriteBackChoices, takes: Takes
) -> tuple[list[Entry], dict[str, str]]:
    """The model as a Device and a reference to it; its name alone where the EHR takes no Device."""
    model = write_back.prediction.forecast.capsule.model
    if not takes("Device"):
        return [], {"type": "Device", "display": f"{model.name} {model.version}"}
    url = _urn("device", model.manifest_digest)
    return [_entry(url, device(model, url), choices.match)], {"reference": url}


def _attested(write_back: WriteBack, told: Sequence[Entry], made_by: dict[str, str]) -> Entry:
    url = _urn("provenance", identifier(write_back.prediction.request.prediction_id))
    resource = provenance(write_back, [each.full_url for each in told], made_by)
    return _entry(url, resource, "_tag")


def _entry(url: str, resource: dict[str, Any], match: str) -> Entry:
    tag = {"system": URI_SYSTEM, "code": url}
    resource["meta"] = {**resource.get("meta", {}), "tag": [tag]}
    return Entry(url, resource, f"{match}={URI_SYSTEM}|{url}")


def _urn(kind: str, name: str) -> str:
    return f"urn:uuid:{identity_of(f'{kind}|{name}')}"
