"""An audit says what is sound, what is not and where, and the same again when nothing has changed."""

from dataclasses import replace

import pytest

from clinical.audit.entry import AuditKind
from clinical.prediction.replay import Replay
from clinical.prediction.request import Purpose
from pipelines.evaluation import audit_report
from tests.fakes import MODEL
from tests.pipelines.evaluation.conftest import NUM_PATIENTS, Stage, patient

pytestmark = pytest.mark.integration


def test_an_untouched_site_passes_and_its_figures_rest_on_every_known_outcome(stage: Stage) -> None:
    findings, page = stage.audit()
    assert findings.is_passed
    assert findings.log.report.is_sound
    assert findings.replay.counts[Replay.EQUAL] == 20
    near, far = findings.risks
    assert (near.subject.name, near.subject.horizon) == ("Hospital admission", "0-30 d")
    # The past questions have known outcomes; those of today do not.
    assert (near.figures.prevalence.n, near.num_unknown) == (NUM_PATIENTS, 25)
    assert near.figures.prevalence.value == 0.5
    assert near.figures.auroc.is_sufficient
    assert far.figures.prevalence.value == 0
    assert far.figures.auroc.why_not == "only 0 events"
    assert "insufficient: only 0 events" in page
    assert "Passed." in page


def test_reviews_are_counted_and_timed_from_the_log(stage: Stage) -> None:
    reviews = stage.audit(sample=0)[0].reviews
    assert reviews.by_state == {"signed": 25}
    assert reviews.by_verdict == {"agree": 20, "disagree": 5}
    assert reviews.override.value == 0.2
    assert (reviews.to_claim.n, reviews.to_claim.median) == (25, 60.0)
    assert reviews.to_sign.median == 60.0


def test_a_second_audit_of_the_same_site_writes_the_same_bytes(stage: Stage) -> None:
    first, page = stage.audit(seed=3)
    again, same_page = stage.audit(seed=3)
    assert page == same_page
    assert first.as_of == again.as_of
    assert stage.audit(seed=4)[1] != page


def test_the_audit_itself_is_in_the_log_with_the_digest_of_its_report(stage: Stage) -> None:
    _, page = stage.audit()
    with stage.open_unit_of_work() as uow:
        (entry,) = uow.audit_log.history(report=audit_report.digest(page))
        assert uow.audit_log.unsequenced() == 0
    assert entry.kind is AuditKind.AUDIT_RUN
    assert entry.refs["passed"] == "True"
    assert entry.refs["recomputed_equal"] == "20"


def test_the_page_needs_nothing_else_and_names_no_patient(stage: Stage) -> None:
    _, page = stage.audit()
    assert "<script" not in page
    assert "src=" not in page
    assert "<link" not in page
    assert "@import" not in page
    assert "url(" not in page.replace('clip-path="url(#', "").replace("clip-path: url(#", "")
    for number in range(NUM_PATIENTS):
        assert str(patient(number).patient_id) not in page
        assert patient(number).record_id not in page


def test_an_edited_entry_is_found_by_its_index(stage: Stage) -> None:
    stage.as_superuser(
        "UPDATE audit_entries SET actor = 'somebody else' WHERE entry_id = "
        "(SELECT entry_id FROM audit_leaves WHERE leaf_index = 7)"
    )
    findings, page = stage.audit()
    assert not findings.is_passed
    assert findings.log.report.first_bad_index == 7
    assert "the first bad entry has index 7" in page
    assert "Not passed." in page


def test_an_edited_leaf_is_found_by_its_index(stage: Stage) -> None:
    stage.as_superuser("UPDATE audit_leaves SET leaf_hash = sha256('x') WHERE leaf_index = 11")
    assert stage.audit()[0].log.report.first_bad_index == 11


def test_a_deleted_entry_is_found_by_its_index(stage: Stage) -> None:
    stage.as_superuser("DELETE FROM audit_leaves WHERE leaf_index = 5")
    assert stage.audit()[0].log.report.first_bad_index == 5


def test_a_cut_off_tail_is_found_by_the_first_missing_index(stage: Stage) -> None:
    with stage.open_unit_of_work() as uow:
        size = uow.audit_log.head().size
    stage.as_superuser("DELETE FROM audit_leaves WHERE leaf_index >= :kept", kept=size - 3)
    findings, page = stage.audit()
    assert findings.log.report.first_bad_index == size - 3
    assert f"entries from index {size - 3} on are missing" in page


def test_an_entry_replaced_together_with_its_leaf_contradicts_the_head(stage: Stage) -> None:
    with stage.open_unit_of_work() as uow:
        (entry,) = [entry for index, entry, _ in uow.audit_log.sequenced() if index == 7]
    forged = replace(entry, actor="somebody else")
    stage.as_superuser(
        "UPDATE audit_entries SET actor = 'somebody else' WHERE entry_id = :entry",
        "UPDATE audit_leaves SET leaf_hash = :leaf WHERE entry_id = :entry",
        entry=entry.entry_id,
        leaf=forged.leaf_hash,
    )
    findings, page = stage.audit()
    assert findings.log.report.first_bad_index is None
    assert not findings.is_passed
    assert "was replaced" in page


def test_nothing_is_built_on_a_broken_tree(stage: Stage) -> None:
    stage.as_superuser("UPDATE audit_leaves SET leaf_hash = sha256('x') WHERE leaf_index = 11")
    stage.audit()
    with stage.open_unit_of_work() as uow:
        assert uow.audit_log.unsequenced() == 1


def test_a_prediction_whose_numbers_were_edited_differs_in_that_readout(stage: Stage) -> None:
    stage.as_superuser(
        "UPDATE predictions SET readouts = replace(readouts::text, :before, :after)::jsonb, "
        "output_digest = 'x'",
        before='"Hospital admission"',
        after='"Emergency visit"',
    )
    findings, page = stage.audit(sample=3)
    assert findings.replay.counts[Replay.DIFFERENT] == 3
    assert findings.replay.replayed[0].what == (
        "output, as the audit log names it",
        "Emergency visit, 0-30 d",
        "Emergency visit, 30-90 d",
    )
    assert "3 different" in page
    assert str(findings.replay.replayed[0].prediction_id) in page


def test_events_that_were_deleted_change_the_input(stage: Stage) -> None:
    stage.as_superuser("DELETE FROM events WHERE record_id LIKE '%-o3'")
    findings, _ = stage.audit(sample=5)
    assert findings.replay.counts[Replay.INPUT_CHANGED] == 5
    assert not findings.is_passed


def test_without_a_model_nothing_is_recomputed_and_the_audit_says_so(stage: Stage) -> None:
    stage.models.is_away = True
    findings, page = stage.audit()
    assert findings.replay.why_not == "no model (model.unavailable)"
    assert not findings.is_passed
    assert "Nothing was recomputed" in page


def test_predictions_of_another_model_are_told_apart(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = replace(MODEL, version="2", manifest_digest="f" * 64)
    monkeypatch.setattr(stage.models, "fingerprint", lambda: newer)
    stage.predictions.make(
        patient(59).patient_id, stage.act("worker"), purpose=Purpose.RETROSPECTIVE
    )
    findings, _ = stage.audit()
    assert (findings.replay.num_eligible, findings.replay.num_of_other_models) == (1, 85)
    assert len(findings.replay.replayed) == 1
    assert findings.is_passed


def test_an_empty_site_passes_with_nothing_to_say(empty_stage: Stage) -> None:
    findings, page = empty_stage.audit()
    assert findings.is_passed
    assert findings.as_of is None
    assert "No prediction was recomputed." in page
    assert "none yet" in page


def test_quarantine_and_unmapped_codes_are_counted_by_name(stage: Stage) -> None:
    stage.as_superuser(
        """INSERT INTO deliveries (delivery_id, site, door, sender_id, body, digest, content_type,
        context, received_at, counts) VALUES (gen_random_uuid(), 'n', 'fhir', 's', '', '', '', '{}',
        now(), '{"unmapped_unit:<b>": 3, "unmapped_system:urn:x": 2, "record:Patient": 9}')""",
        """INSERT INTO quarantine SELECT delivery_id, 'entry[1]', 'fhir.impossible_date', 'd',
        'Observation', 'secret-id', '', now() FROM deliveries""",
    )
    findings, page = stage.audit(sample=0)
    assert findings.intake.quarantined == {"fhir.impossible_date": 1}
    assert findings.intake.unmapped_units == {"<b>": 3}
    assert findings.intake.unmapped_systems == {"urn:x": 2}
    assert "&lt;b&gt;" in page
    assert "secret-id" not in page
