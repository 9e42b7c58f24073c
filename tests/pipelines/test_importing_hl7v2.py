"""`clinical import` of HL7 v2 and C-CDA: beside everything else in a folder, each once, by the site's rules."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from adapters.sites.hl7v2 import Ccda
from adapters.sites.site import Site
from clinical.services.messages import Urgency
from clinical.timeline.patient import PatientRef
from clinical.timeline.time import Precision
from tests.adapters.ccda.documents import ROOT, document, result, section
from tests.adapters.hl7v2.messages import PID, message, rules
from tests.adapters.hl7v2.test_results import obx, oru
from tests.pipelines.importing_stage import SITE, Stage, stage_on

pytestmark = pytest.mark.integration


@pytest.fixture
def stage(engine: Engine) -> Stage:
    return stage_on(engine, {SITE: Site(hl7v2=rules(), ccda=Ccda(patient_root=ROOT))})


def test_a_folder_of_messages_and_documents_is_taken_in_each_once(
    stage: Stage, tmp_path: Path
) -> None:
    batch = b"FHS|^~\\&|ADT\r" + oru(obx()) + oru(obx(status="P"), control_id="M2") + b"FTS|1\r"
    (tmp_path / "a.hl7").write_bytes(batch)
    (tmp_path / "b.xml").write_bytes(document(section("results", result())))
    (tmp_path / "c.txt").write_bytes(b"nothing of ours")
    report = stage.take(tmp_path)
    assert (report.num_files, report.num_files_ignored, report.num_deliveries) == (2, 1, 3)
    assert not report.quarantined
    assert report.num_new_events == 2 + 3  # two results; patient, report and result of the document
    before = stage.sizes()
    assert stage.take(tmp_path).num_repeated == 3
    assert stage.sizes() == before
    with stage.open_unit_of_work() as uow:
        assert len(uow.timelines.of(PatientRef(SITE, "p1").patient_id)) >= 4
        taken = uow.outbox.claim(10, timedelta(minutes=1))
        assert {each.urgency for each in taken} == {Urgency.BACKFILL}


def test_a_minute_is_stored_with_its_bounds(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(oru(obx().replace("20240601050500-0400", "202406010505-0400")))
    stage.take(tmp_path)
    with stage.open_unit_of_work() as uow:
        (event,) = uow.timelines.of(PatientRef(SITE, "p1").patient_id)
    assert event.occurred_at is not None
    assert (event.occurred_at.precision, event.occurred_at.text) == (
        Precision.MINUTE,
        "202406010505-0400",
    )
    assert (event.occurred_at.latest - event.occurred_at.earliest).total_seconds() == 59.999999


def test_without_rules_for_the_site_everything_waits_in_quarantine(
    engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "a.hl7").write_bytes(message("ADT^A08", PID))
    (tmp_path / "b.xml").write_bytes(document())
    report = stage_on(engine).take(tmp_path)
    assert report.quarantined == {"hl7v2.unknown_sender": 1, "ccda.no_rules": 1}
