"""J4: every change is in the audit log, and anybody can check that it is there."""

import hashlib
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from adapters.clock import SystemClock
from clinical.audit.proof import is_consistent, is_included
from clinical.audit.tree import TreeHead
from clinical.services.audit import AuditService
from pipelines.cli import app
from tests.journeys.conftest import Running
from tests.journeys.visitor import Clinician
from tests.stack import wait_until

pytestmark = pytest.mark.integration


def test_the_log_is_sound_and_an_entry_can_be_proven_to_stand_in_it(
    site: Running, sample_patient: UUID, adams: Clinician
) -> None:
    service = AuditService(open_unit_of_work=site.open_unit_of_work, clock=SystemClock())
    with site.open_unit_of_work() as uow:
        (review,) = uow.reviews.open_for(sample_patient)
    wait_until(lambda: service.verify().num_unsequenced == 0)

    report = service.verify()
    history = adams.get(f"/v1/reviews/{review.review_id}/history")["entries"]
    proof = adams.get(f"/v1/audit/entries/{history[0]['entry_id']}/proof")

    assert report.is_sound
    assert report.num_entries >= len(history)
    leaf = hashlib.sha256(b"\x00" + proof["canonical_entry"].encode()).digest()
    assert leaf.hex() == proof["leaf"]
    path = [bytes.fromhex(sibling) for sibling in proof["path"]]
    head = TreeHead(proof["head"]["size"], bytes.fromhex(proof["head"]["root"]))
    assert is_included(leaf, proof["index"], path, head)
    assert not is_included(leaf, (proof["index"] + 1) % head.size, path, head)

    # What is remembered of the log is found again at the start of what it is later.
    now = adams.get("/v1/audit/head")
    grown = adams.get("/v1/ledger/growth", old=head.size, size=now["size"])["path"]
    later = TreeHead(now["size"], bytes.fromhex(now["root"]))
    assert is_consistent(head, later, [bytes.fromhex(each) for each in grown])


def test_neither_audit_log_nor_worker_log_names_a_patient(
    site: Running, sample_patient: UUID
) -> None:
    with site.open_unit_of_work() as uow:
        record_id = uow.timelines.patient(sample_patient).record_id
        entries = [entry.canonical().decode() for _, entry, _ in uow.audit_log.sequenced()]
    logs = [path.read_text() for path in (site.folder / "data" / "logs").glob("*.log")]
    assert entries
    assert logs
    for text in [*entries, *logs, site.started.text()]:
        assert record_id not in text
        assert str(sample_patient) not in text


def test_the_log_is_exported_and_checked_with_the_file_that_an_auditor_takes_away(
    site: Running, sample_patient: UUID, tmp_path: Path
) -> None:
    service = AuditService(open_unit_of_work=site.open_unit_of_work, clock=SystemClock())
    wait_until(lambda: service.verify().num_unsequenced == 0)
    data = ["--data-dir", str(site.folder / "data")]
    log, head, verifier = (tmp_path / name for name in ("log.txt", "head", "verify_ledger.py"))
    runner = CliRunner()
    key = runner.invoke(app, ["ledger", "key", *data])
    written = ["--out", str(log), "--checkpoint", str(head)]
    exported = runner.invoke(app, ["ledger", "export", *written, *data])
    verifier.write_text(runner.invoke(app, ["ledger", "verifier"]).stdout, "utf-8")
    aside = runner.invoke(app, ["quarantine", "list", *data])
    assert (key.exit_code, exported.exit_code, aside.exit_code) == (0, 0, 0), exported.output
    words = ["export", str(log), str(head), "--log-key", key.stdout.strip()]
    checked = subprocess.run(
        [sys.executable, "-I", str(verifier), *words], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "consists of exactly these" in checked.stdout
