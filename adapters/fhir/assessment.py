"""A decided prediction as a RiskAssessment, the Device that made it, and their Provenance.

Two traps of R4 shape this. A bare decimal probability means a percentage by the definition and a
fraction in the examples, so probabilities are ranges whose unit is `%`. A prediction without `when`
means "over the whole life", so `when` is always there. Only risks are told: R4's RiskAssessment has
no place for a forecast quantity.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from adapters.fhir.codes import URIS
from adapters.fhir.references import is_valid_id
from adapters.fhir.release import RESOURCE_TYPES
from clinical.prediction.prediction import ModelFingerprint, Prediction
from clinical.prediction.readout import Interval, Readout, ReadoutKind
from clinical.review.writeback import WriteBack
from clinical.timeline.code import Code, CodeSystem

URI_SYSTEM = "urn:ietf:rfc:3986"
"""The identifier system of identifiers that are themselves URIs: ours are `urn:uuid:…`."""
AI_ASSERTED = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}
# HL7 AI Transparency on FHIR, profiles AI-Device (`type`) and AI-Provenance (`agent.role`, exactly this).
_ARTIFICIAL = {
    "system": "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS",
    "code": "Artificial-Intelligence",
}
_PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"


def identifier(prediction_id: UUID) -> str:
    """Our identifier of the RiskAssessment of a prediction, within `URI_SYSTEM`."""
    return f"urn:uuid:{prediction_id}"


def is_risk(readout: Readout) -> bool:
    """Whether a readout is a risk that was said, not withheld."""
    return readout.kind is ReadoutKind.PROBABILITY and readout.estimate is not None


def device(model: ModelFingerprint, url: str) -> dict[str, Any]:
    """The model as a Device, with `url` as its identifier."""
    return {
        "resourceType": "Device",
        "identifier": [{"system": URI_SYSTEM, "value": url}],
        "status": "active",
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "type": {"coding": [_ARTIFICIAL], "text": "Artificial intelligence model"},
        "version": [
            {"value": model.version},
            {"type": {"text": "SHA-256 of the model's manifest"}, "value": model.manifest_digest},
        ],
    }


def risk_assessment(
    write_back: WriteBack,
    risks: Sequence[Readout],
    made_by: dict[str, str],
    *,
    is_range: bool = True,
) -> dict[str, Any]:
    """The risks, in percent, as ranges or as decimals; `made_by` refers to the model."""
    prediction, decision = write_back.prediction, write_back.decision
    model = prediction.forecast.capsule.model
    assessment: dict[str, Any] = {
        "resourceType": "RiskAssessment",
        "meta": {"security": [AI_ASSERTED]},
        "identifier": [
            {"system": URI_SYSTEM, "value": identifier(prediction.request.prediction_id)}
        ],
        "status": "final",
        "method": {"text": f"{model.name} {model.version}"},
        "subject": {"reference": write_back.patient_reference},
        "occurrenceDateTime": moment(prediction.request.as_of),
        "performer": made_by,
        "prediction": [_risk(prediction, readout, is_range=is_range) for readout in risks],
    }
    basis = _basis(write_back)
    if basis:
        assessment["basis"] = basis
    if decision.note:
        assessment["note"] = [
            {
                "authorString": decision.decided_by,
                "time": moment(decision.decided_at),
                "text": decision.note,
            }
        ]
    return assessment


def _risk(prediction: Prediction, readout: Readout, *, is_range: bool) -> dict[str, Any]:
    wide = widest(readout)
    return {
        "outcome": concept(readout.code, readout.name),
        **_probability(readout, wide, is_range=is_range),
        "whenPeriod": window(prediction, readout),
        "rationale": rationale(readout, wide),
    }


def _probability(readout: Readout, wide: Interval, *, is_range: bool) -> dict[str, Any]:
    """In percent, whichever form (ras-1, ras-2); a bare number also says in words what it is."""
    if is_range:
        return {"probabilityRange": {"low": _percent(wide.low), "high": _percent(wide.high)}}
    assert readout.estimate is not None
    said = hundredfold(readout.estimate)
    return {"probabilityDecimal": said, "qualitativeRisk": {"text": f"{said:g} percent"}}


def widest(readout: Readout) -> Interval:
    """The interval with the highest level."""
    return max(readout.intervals, key=lambda interval: interval.level)


def window(prediction: Prediction, readout: Readout) -> dict[str, str]:
    """The time that a readout speaks of. A Period without an end is one that is not over: until discharge."""
    as_of, horizon = prediction.request.as_of, readout.horizon
    end = {} if horizon.end is None else {"end": moment(as_of + horizon.end)}
    return {"start": moment(as_of + horizon.start)} | end


def rationale(readout: Readout, interval: Interval) -> str:
    """The numbers in words, with their unit: the range alone does not say what it covers."""
    assert readout.estimate is not None
    return (
        f"Estimated probability {hundredfold(readout.estimate):g} percent; the range is the "
        f"{hundredfold(interval.level):g} percent interval. All values are percentages. "
        f"Calibration: {readout.calibration_id or 'none'}."
    )


def hundredfold(fraction: float) -> float:
    return round(100 * min(max(fraction, 0.0), 1.0), 4)


def _percent(fraction: float) -> dict[str, Any]:
    return {
        "value": hundredfold(fraction),
        "unit": "%",
        "system": URIS[CodeSystem.UCUM],
        "code": "%",
    }


def concept(code: Code | None, name: str) -> dict[str, Any]:
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


def provenance(
    write_back: WriteBack, targets: Sequence[str], made_by: dict[str, str]
) -> dict[str, Any]:
    """Who made the targets and who verified them: the model assembled, a person decided."""
    decision = write_back.decision
    provenance: dict[str, Any] = {
        "resourceType": "Provenance",
        "meta": {"security": [AI_ASSERTED]},
        "target": [{"reference": each} for each in targets],
        "recorded": moment(decision.decided_at),
        "reason": [{"coding": [AI_ASSERTED]}],
        "agent": [
            {
                "type": _participant("assembler", "Assembler"),
                "role": [{"coding": [_ARTIFICIAL]}],
                "who": made_by,
            },
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


def moment(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
