"""Other ways to tell an EHR of a decided prediction, where it takes no RiskAssessment or wants more.

A Task says that the review was done, a Flag warns while the window lasts, a Communication says it all
in words. All of them speak in percent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from adapters.fhir.assessment import (
    AI_ASSERTED,
    concept,
    hundredfold,
    moment,
    rationale,
    widest,
    window,
)
from adapters.sites.write_back import WriteBackChoices
from clinical.prediction.readout import Readout
from clinical.review.decision import Verdict
from clinical.review.writeback import WriteBack

_FLAG_CATEGORY = "http://terminology.hl7.org/CodeSystem/flag-category"
_LABEL = {"security": [AI_ASSERTED]}
_VERDICTS = {Verdict.AGREE: "agreed", Verdict.AGREE_WITH_CHANGES: "agreed with changes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A decided prediction with its risks; `assessment` is empty where no RiskAssessment is told."""

    write_back: WriteBack
    risks: Sequence[Readout]
    made_by: dict[str, str]
    assessment: str

    @property
    def subject(self) -> dict[str, str]:
        """The patient, as the EHR calls them."""
        return {"reference": self.write_back.patient_reference}


Named = tuple[str, dict[str, Any]]


def task(scene: Scene, _choices: WriteBackChoices) -> Iterator[Named]:
    """The review as a Task that is done: who decided, when, and what."""
    decision = scene.write_back.decision
    done: dict[str, Any] = {
        "resourceType": "Task",
        "status": "completed",
        "businessStatus": {"text": _VERDICTS[decision.verdict]},
        "intent": "order",
        "code": {"text": "Review of a forecast by a clinician"},
        "for": scene.subject,
        "authoredOn": moment(scene.write_back.prediction.made_at),
        "lastModified": moment(decision.decided_at),
        "requester": scene.made_by,
        "owner": {"type": "Practitioner", "display": decision.decided_by},
    }
    if scene.assessment:
        done["focus"] = {"reference": scene.assessment}
    else:
        done["description"] = " ".join(_sentences(scene))
    yield "review", done


def flag(scene: Scene, choices: WriteBackChoices) -> Iterator[Named]:
    """A warning for each risk that reaches the site's limit, for as long as its window lasts."""
    for index, readout in enumerate(scene.risks):
        assert readout.estimate is not None
        if readout.estimate < choices.flag_at:
            continue
        said = concept(readout.code, _sentence(readout))
        yield (
            f"{readout.name}|{index}",
            {
                "resourceType": "Flag",
                "meta": dict(_LABEL),
                "status": "active",
                "category": [
                    {"coding": [{"system": _FLAG_CATEGORY, "code": "clinical"}], "text": "Forecast"}
                ],
                "code": said,
                "subject": scene.subject,
                "period": window(scene.write_back.prediction, readout),
                "author": scene.made_by,
            },
        )


def communication(scene: Scene, _choices: WriteBackChoices) -> Iterator[Named]:
    """Everything in words, for an EHR that takes nothing else."""
    decision = scene.write_back.decision
    said: dict[str, Any] = {
        "resourceType": "Communication",
        "meta": dict(_LABEL),
        "status": "completed",
        "category": [{"text": "Forecast reviewed by a clinician"}],
        "subject": scene.subject,
        "sent": moment(decision.decided_at),
        "sender": scene.made_by,
        "payload": [{"contentString": each} for each in _sentences(scene)],
    }
    if scene.assessment:
        said["about"] = [{"reference": scene.assessment}]
    yield "words", said


TELL: Mapping[str, Callable[[Scene, WriteBackChoices], Iterator[Named]]] = {
    "Task": task,
    "Flag": flag,
    "Communication": communication,
}


def _sentences(scene: Scene) -> list[str]:
    """One a risk, then where they come from and who agreed."""
    write_back = scene.write_back
    decision, request = write_back.decision, write_back.prediction.request
    model = write_back.prediction.forecast.capsule.model
    risks = [f"{_sentence(each)}. {rationale(each, widest(each))}" for each in scene.risks]
    source = (
        f"Forecast of {model.name} {model.version} from what was known at {moment(request.as_of)}; "
        f"{decision.decided_by} {_VERDICTS[decision.verdict]} at {moment(decision.decided_at)}."
    )
    return [*risks, source, *([f"Note: {decision.note}"] if decision.note else [])]


def _sentence(readout: Readout) -> str:
    assert readout.estimate is not None
    said = f"{hundredfold(readout.estimate):g} percent"
    return f"{readout.name}, {_window_in_words(readout)}: {said}"


def _window_in_words(readout: Readout) -> str:
    horizon = readout.horizon
    if horizon.end is None:
        return "until discharge"
    return f"within {_duration(horizon.start)} to {_duration(horizon.end)} of the data cut-off"


def _duration(length: timedelta) -> str:
    hours = length.total_seconds() / 3600
    return f"{hours / 24:g} days" if hours % 24 == 0 else f"{hours:g} hours"
