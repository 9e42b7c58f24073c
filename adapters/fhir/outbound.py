"""A decided prediction as FHIR: a RiskAssessment, the Device that made it, and their Provenance.

Two traps of R4 shape this. A bare decimal probability means a percentage by the definition and a
fraction in the examples, so probabilities are ranges whose unit is `%`. A prediction without `when`
means "over the whole life", so `when` is always there. Only risks are told: R4's RiskAssessment has
no place for a forecast quantity.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from adapters.fhir.codes import URIS
from adapters.fhir.references import is_valid_id
from adapters.fhir.release import RESOURCE_TYPES
from clinical.errors import RejectedError
from clinical.prediction.prediction import ModelFingerprint, Prediction
from clinical.prediction.readout import Interval, Readout, ReadoutKind
from clinical.review.writeback import WriteBack, may_be_written_back
from clinical.timeline.code import Code, CodeSystem
from clinical.timeline.identity import identity_of

URI_SYSTEM = "urn:ietf:rfc:3986"
"""The identifier system of identifiers that are themselves URIs: ours are `urn:uuid:…`."""
_AI_ASSERTED = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}
_PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


class NothingToWriteBackError(RejectedError):
    """The clinician did not agree, or no risk was said: nothing may leave."""

    code = "fhir.nothing_to_write_back"


def identifier(prediction_id: UUID) -> str:
    """Our identifier of the RiskAssessment of a prediction, within `URI_SYSTEM`."""
    return f"urn:uuid:{prediction_id}"


class Match(StrEnum):
    """The search by which a server finds what it already holds of ours; each resource carries both."""

    IDENTIFIER = "identifier"
    TAG = "_tag"  # for servers that cannot search these types by identifier

    def query(self, value: str) -> str:
        """The search for one of our identifiers, as `ifNoneExist` wants it."""
        return f"{self.value}={URI_SYSTEM}|{value}"


def write_back_bundle(write_back: WriteBack, match: Match = Match.IDENTIFIER) -> dict[str, Any]:
    """A transaction that creates the three resources, or finds them there.

    Each create is conditional on our own identifier, so that the same transaction sent twice adds
    nothing the second time. A Provenance has no identifier: it is always found by its tag.

    Raises:
        NothingToWriteBackError
    """
    prediction, decision = write_back.prediction, write_back.decision
    risks = [readout for readout in prediction.forecast.readouts if _is_risk(readout)]
    if not risks or not may_be_written_back(prediction, decision):
        raise NothingToWriteBackError("nothing that a clinician agreed with is a risk")
    model = prediction.forecast.capsule.model
    device_url = _urn("device", model.manifest_digest)
    assessment_url = identifier(prediction.request.prediction_id)
    provenance_url = _urn("provenance", assessment_url)
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            _create(device_url, _device(model, device_url), match.query(device_url)),
            _create(
                assessment_url,
                _risk_assessment(write_back, risks, device_url),
                match.query(assessment_url),
            ),
            _create(
                provenance_url,
                _provenance(write_back, assessment_url, device_url),
                Match.TAG.query(provenance_url),
            ),
        ],
    }


def _is_risk(readout: Readout) -> bool:
    return readout.kind is ReadoutKind.PROBABILITY and readout.estimate is not None


def _urn(kind: str, name: str) -> str:
    return f"urn:uuid:{identity_of(f'{kind}|{name}')}"


def _create(full_url: str, resource: dict[str, Any], if_none_exist: str) -> dict[str, Any]:
    resource["meta"] = {
        **resource.get("meta", {}),
        "tag": [{"system": URI_SYSTEM, "code": full_url}],
    }
    return {
        "fullUrl": full_url,
        "resource": resource,
        "request": {
            "method": "POST",
            "url": resource["resourceType"],
            "ifNoneExist": if_none_exist,
        },
    }


def device(model: ModelFingerprint) -> dict[str, Any]:
    """The model by itself, under the identifier that it has in every write-back."""
    return _device(model, _urn("device", model.manifest_digest))


def _device(model: ModelFingerprint, url: str) -> dict[str, Any]:
    return {
        "resourceType": "Device",
        "identifier": [{"system": URI_SYSTEM, "value": url}],
        "status": "active",
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "type": {"text": "Artificial intelligence model"},
        "version": [
            {"value": model.version},
            {"type": {"text": "SHA-256 of the model's manifest"}, "value": model.manifest_digest},
        ],
    }


def _risk_assessment(write_back: WriteBack, risks: list[Readout], device: str) -> dict[str, Any]:
    prediction, decision = write_back.prediction, write_back.decision
    model = prediction.forecast.capsule.model
    assessment: dict[str, Any] = {
        "resourceType": "RiskAssessment",
        "meta": {"security": [_AI_ASSERTED]},
        "identifier": [
            {"system": URI_SYSTEM, "value": identifier(prediction.request.prediction_id)}
        ],
        "status": "final",
        "method": {"text": f"{model.name} {model.version}"},
        "subject": {"reference": write_back.patient_reference},
        "occurrenceDateTime": _moment(prediction.request.as_of),
        "performer": {"reference": device},
        "prediction": [_risk(prediction, readout) for readout in risks],
    }
    basis = _basis(write_back)
    if basis:
        assessment["basis"] = basis
    if decision.note:
        assessment["note"] = [
            {
                "authorString": decision.decided_by,
                "time": _moment(decision.decided_at),
                "text": decision.note,
            }
        ]
    return assessment


def _risk(prediction: Prediction, readout: Readout) -> dict[str, Any]:
    as_of, horizon = prediction.request.as_of, readout.horizon
    widest = max(readout.intervals, key=lambda interval: interval.level)
    return {
        "outcome": _concept(readout.code, readout.name),
        "probabilityRange": {"low": _percent(widest.low), "high": _percent(widest.high)},
        # A Period without an end is one that is not over: until discharge.
        "whenPeriod": {"start": _moment(as_of + horizon.start)}
        | ({} if horizon.end is None else {"end": _moment(as_of + horizon.end)}),
        "rationale": _rationale(readout, widest),
    }


def _rationale(readout: Readout, interval: Interval) -> str:
    """The numbers in words, with their unit: the range alone does not say what it covers."""
    assert readout.estimate is not None
    return (
        f"Estimated probability {_hundredfold(readout.estimate):g} percent; the range is the "
        f"{_hundredfold(interval.level):g} percent interval. All values are percentages. "
        f"Calibration: {readout.calibration_id or 'none'}."
    )


def _hundredfold(fraction: float) -> float:
    return round(100 * min(max(fraction, 0.0), 1.0), 4)


def _percent(fraction: float) -> dict[str, Any]:
    return {
        "value": _hundredfold(fraction),
        "unit": "%",
        "system": URIS[CodeSystem.UCUM],
        "code": "%",
    }


def _concept(code: Code | None, name: str) -> dict[str, Any]:
    concept: dict[str, Any] = {"text": name}
    if code is not None and code.system != CodeSystem.TEXT:
        known = code.system if isinstance(code.system, CodeSystem) else None
        uri = URIS.get(known) if known else code.system
        if uri and ":" in uri:
            coding = {"system": uri, "code": code.value}
            concept["coding"] = [coding | ({"display": code.display} if code.display else {})]
    return concept


def _basis(write_back: WriteBack) -> list[dict[str, str]]:
    """The records on which the estimates lean, where they are the EHR's own."""
    found = []
    for reference in write_back.basis:
        record_type, _, record_id = reference.partition("/")
        is_theirs = not record_id.startswith("sha256-") and is_valid_id(record_id)
        if record_type in RESOURCE_TYPES and is_theirs:
            found.append({"reference": reference})
    return found


def _provenance(write_back: WriteBack, assessment: str, device: str) -> dict[str, Any]:
    decision = write_back.decision
    provenance: dict[str, Any] = {
        "resourceType": "Provenance",
        "meta": {"security": [_AI_ASSERTED]},
        "target": [{"reference": assessment}],
        "recorded": _moment(decision.decided_at),
        "reason": [{"coding": [_AI_ASSERTED]}],
        "agent": [
            {"type": _participant("assembler", "Assembler"), "who": {"reference": device}},
            {
                "type": _participant("verifier", "Verifier"),
                "who": {"type": "Practitioner", "display": decision.decided_by},
            },
        ],
    }
    sources = [{"role": "source", "what": reference} for reference in _basis(write_back)]
    if sources:
        provenance["entity"] = sources
    return provenance


def _participant(code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": _PARTICIPANT, "code": code, "display": display}]}


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
