"""J3: a clinician decides, and where the site wants it the EHR is told, once."""

import json
from pathlib import Path
from uuid import UUID

import pytest

from clinical.audit.entry import AuditKind
from tests.journeys.conftest import PASSWORD, MakePatient, Running
from tests.journeys.visitor import Clinician
from tests.stack import Started, free_ports, is_live, wait_until

pytestmark = pytest.mark.integration


def _review_of(site: Running, patient_id: UUID) -> UUID:
    with site.open_unit_of_work() as uow:
        (review,) = uow.reviews.open_for(patient_id)
    return review.review_id


def test_only_one_clinician_can_hold_and_sign_and_the_ehr_hears_of_it_once_it_is_up(
    site: Running, make_patient: MakePatient, adams: Clinician, baker: Clinician
) -> None:
    patient_id = make_patient()
    review_id = _review_of(site, patient_id)
    version = adams.claim(review_id)
    assert baker.sign(review_id, "agree", version).status_code == 409
    site.ehr.is_down = True
    assert adams.sign(review_id, "agree", version, note="as expected").status_code == 200
    wait_until(lambda: _worker_said(site, "ehr.unavailable"))
    assert site.ehr.resources("RiskAssessment") == []

    site.ehr.is_down = False

    wait_until(lambda: not site.num_waiting())
    (assessment,) = site.ehr.resources("RiskAssessment")
    with site.open_unit_of_work() as uow:
        record_id = uow.timelines.patient(patient_id).record_id
        kinds = [entry.kind for entry in uow.audit_log.history(review=str(review_id))]
    assert assessment["subject"]["reference"] == f"Patient/{record_id}"
    assert assessment["prediction"]
    assert site.ehr.resources("Provenance")
    assert kinds.count(AuditKind.WRITEBACK_QUEUED) == 1
    assert kinds.count(AuditKind.WRITEBACK_DONE) == 1
    assert AuditKind.MESSAGE_ABANDONED not in kinds


def test_where_the_site_did_not_ask_for_it_nothing_is_told_to_the_ehr(
    site: Running, make_patient: MakePatient, tmp_path: Path
) -> None:
    """A second web process on the same database, with write-back left at its default."""
    review_id = _review_of(site, make_patient())
    settings = {
        "CLINICAL_DATABASE_URL": site.database_url,
        "CLINICAL_SESSION_KEY": "k" * 40,
        "CLINICAL_WEB_PORT": str(free_ports(1)[0]),
    }
    with Started(["web"], tmp_path, settings) as second:
        url = f"http://127.0.0.1:{settings['CLINICAL_WEB_PORT']}"
        wait_until(lambda: is_live(url))
        adams = Clinician(url, "dr-adams", PASSWORD)
        assert adams.sign(review_id, "agree", adams.claim(review_id)).status_code == 200
        adams.close()
        assert second.stop() == 0
    with site.open_unit_of_work() as uow:
        kinds = [entry.kind for entry in uow.audit_log.history(review=str(review_id))]
    assert AuditKind.REVIEW_SIGNED in kinds
    assert AuditKind.WRITEBACK_QUEUED not in kinds
    assert site.num_waiting() == 0


def _worker_said(site: Running, code: str) -> bool:
    lines = (site.folder / "data" / "logs" / "worker.log").read_text().splitlines()
    return any(json.loads(line).get("error_code") == code for line in lines if line[:1] == "{")
