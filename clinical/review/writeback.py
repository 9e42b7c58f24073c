"""What may be told to the EHR after a clinician decided, in domain words."""

from dataclasses import dataclass

from clinical.prediction.prediction import Prediction
from clinical.review.decision import Decision, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteBack:
    """A decided prediction on its way to the EHR; `patient_reference` is the EHR's own id for the patient.

    `basis` names the records (`type/id`) on which the estimates lean.
    """

    site: str
    patient_reference: str
    prediction: Prediction
    decision: Decision
    basis: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the EHR was told: its id of the main thing, the types of all, and those it does not take."""

    ehr_id: str
    resource_types: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def may_be_written_back(prediction: Prediction, decision: Decision) -> bool:
    """Only what a clinician agreed with, and only if something was said, leaves this service."""
    agreed = decision.verdict in {Verdict.AGREE, Verdict.AGREE_WITH_CHANGES}
    return agreed and not prediction.is_abstained
