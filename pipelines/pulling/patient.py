"""Everything that an EHR holds of one patient, page by page."""

from dataclasses import dataclass

from adapters.fhir.body import MAX_BODY_BYTES
from adapters.fhir.pulling.asking import Asking
from clinical.audit.entry import Act
from clinical.errors import ClinicalError
from clinical.services.ports import Clock
from clinical.services.pulling import PullingService


@dataclass(slots=True, kw_only=True)
class PatientReport:
    """How many pages came, how many of them had not come before, and how many no reader opens."""

    num_pages: int = 0
    num_new_pages: int = 0
    num_too_large: int = 0


def pull_patient(
    service: PullingService, asking: Asking, record_id: str, *, clock: Clock, actor: str
) -> PatientReport:
    """Ask for everything of a patient by the EHR's id, and store each page as it comes, whole.

    What a page holds of other patients is set aside when it is understood. Pages that came before
    something went wrong stay.

    Raises:
        BadPatientIdError, LoopingPagesError, ForeignPageError, and as `Peer.ask` does.
    """
    report = PatientReport()
    act = Act(actor=actor, at=clock.now())
    error_code = ""
    try:
        for delivery in asking.everything(record_id):
            report.num_new_pages += service.take_answer(delivery, act)
            report.num_pages += 1
            report.num_too_large += len(delivery.body) > MAX_BODY_BYTES
    except ClinicalError as error:
        error_code = error.code
        raise
    finally:
        service.note_patient(
            asking.site,
            act,
            error_code=error_code,
            pages=report.num_pages,
            new_pages=report.num_new_pages,
            too_large=report.num_too_large,
        )
    return report
