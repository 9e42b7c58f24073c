"""`clinical meds export`: what stands is written once, under pseudonyms, and the log says who did it."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from meds import DataSchema
from typer.testing import CliRunner

from adapters.fhir.reader import BulkReader
from clinical.audit.entry import AuditKind
from clinical.services.ports import OpenUnitOfWork
from pipelines.cli import app
from pipelines.samples import synthea_bundles
from tests.adapters.fhir import records

pytestmark = pytest.mark.integration


@pytest.fixture
def site(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen_inbox: None
) -> CliRunner:
    monkeypatch.setenv("CLINICAL_DATABASE_URL", database_url)
    monkeypatch.setenv("CLINICAL_DATA_DIR", str(tmp_path / "var"))
    return CliRunner()


@pytest.fixture
def frozen_inbox(open_unit_of_work: OpenUnitOfWork) -> None:
    """Two sample patients on record."""
    for number, (_, body) in zip(range(2), synthea_bundles(), strict=False):
        delivery = records.delivery(body, sender_id=str(number))
        reading = BulkReader().read(delivery)
        with open_unit_of_work() as uow:
            uow.timelines.add(reading.events, reading.patients)
            uow.commit()


def test_a_site_is_exported_under_the_same_pseudonyms_each_time(
    site: CliRunner, tmp_path: Path, open_unit_of_work: OpenUnitOfWork
) -> None:
    for name in ("first", "again"):
        done = site.invoke(app, ["meds", "export", str(tmp_path / name), "--by", "ruth"])
        assert done.exit_code == 0, done.output
        assert done.output.startswith("2 subjects, ")
    tables = [pq.read_table(tmp_path / name / "data/0.parquet") for name in ("first", "again")]
    DataSchema.validate(tables[0])
    assert tables[0] == tables[1]
    assert (tmp_path / "first").stat().st_mode & 0o077 == 0
    with open_unit_of_work() as uow:
        kinds = [(entry.actor, entry.kind) for entry in uow.audit_log.history()]
    assert kinds == [("ruth", AuditKind.TIMELINES_EXPORTED)] * 2


def test_a_folder_that_is_there_is_left_as_it_is(site: CliRunner, tmp_path: Path) -> None:
    done = site.invoke(app, ["meds", "export", str(tmp_path), "--by", "ruth"])
    assert done.exit_code == 1
    assert "meds.place_taken" in done.output
