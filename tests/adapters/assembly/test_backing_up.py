"""A site backed up and restored elsewhere: the same log, rows and keys, and still nothing can be edited."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from adapters.assembly import backing_up, keys
from adapters.assembly.backing_up import DamagedBackupError, PlaceTakenError, SiteInUseError
from adapters.assembly.worker import readers
from adapters.clock import SystemClock, TimeOrderedIdentities
from adapters.db.embedded import EmbeddedPostgres
from adapters.db.engine import create_engine
from adapters.db.migrate import upgrade
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.settings import Settings
from clinical.audit.entry import Act
from clinical.prediction.prediction import Prediction
from clinical.review.decision import Verdict
from clinical.services.audit import AuditService
from clinical.services.delivery import Delivery, Door
from clinical.services.intake import Intake
from clinical.services.ports import OpenUnitOfWork
from clinical.services.prediction import PredictionService
from clinical.services.review import ReviewService
from pipelines.samples import FOLDER, demo_bundles
from tests.adapters.http.stage import StagedModel

pytestmark = pytest.mark.integration
SHIPPED = FOLDER / "checkpoints" / "synthea-small"
Say = Callable[[str], None]


def _fill(open_unit_of_work: OpenUnitOfWork, count: int, *, first: int = 0) -> None:
    """Deliveries, predictions and one decision, as the services make them."""
    clock, identities = SystemClock(), TimeOrderedIdentities()
    shared = {"open_unit_of_work": open_unit_of_work, "clock": clock, "identities": identities}
    intake = Intake(**shared, readers=readers())
    predictions = PredictionService(**shared, models=StagedModel())
    act = Act(actor="test", at=clock.now())
    bundles = sorted((body for _, body in demo_bundles()), key=len)[first : first + count]
    for number, body in enumerate(bundles, first):
        delivery = Delivery(
            delivery_id=identities.new(),
            site="ward",
            door=Door.FHIR_BULK,
            sender_id=f"{number}",
            body=body,
            content_type="application/fhir+json",
            received_at=clock.now(),
        )
        receipt = intake.receive(delivery, act)
        for patient_id in intake.record(receipt.delivery_id, act).reading.patients:
            predictions.make(patient_id, act)
    with open_unit_of_work() as uow:
        review = uow.reviews.open_for(patient_id)[0]
    reviews = ReviewService(**shared)
    reviews.claim(review.review_id, act, expected_version=review.version)
    reviews.sign(
        review.review_id, act, expected_version=review.version + 1, verdict=Verdict.AGREE, note="ok"
    )
    AuditService(open_unit_of_work=open_unit_of_work, clock=clock).sequence()


def _predictions(open_unit_of_work: OpenUnitOfWork) -> dict[UUID, Prediction]:
    with open_unit_of_work() as uow:
        return {each.request.prediction_id: each for each in uow.predictions.all()}


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def use_database(url: str) -> None:
        monkeypatch.setenv("CLINICAL_DATABASE_URL", url)

    return use_database


def test_an_embedded_site_is_restored_in_a_fresh_folder_with_the_same_log_and_predictions(
    tmp_path: Path,
) -> None:
    old, new, folder = (tmp_path / name for name in ("old", "new", "backup"))
    with EmbeddedPostgres(old / "postgres") as server:  # the site runs while it is backed up
        upgrade(server.url)
        engine = create_engine(server.url)
        _fill(unit_of_work_factory(engine), 3)
        before = _predictions(unit_of_work_factory(engine))
        keys.session_key(Settings(data_dir=old))
        made = backing_up.back_up(folder, SHIPPED, old)
        engine.dispose()
    said: list[str] = []

    found = backing_up.restore(folder, said.append, data_dir=new)

    assert found.is_sound, found
    assert found.log.head == made.stored.head
    assert found.log.num_entries > 10
    assert found.has_ledger_key
    with EmbeddedPostgres(new / "postgres") as server:
        engine = create_engine(server.url)
        assert len(before) == 3
        assert _predictions(unit_of_work_factory(engine)) == before
        for statement in ("UPDATE audit_entries SET actor = 'x'", "DELETE FROM decisions"):
            with pytest.raises(DBAPIError), engine.begin() as connection:
                connection.execute(text(statement))
        engine.dispose()
    assert keys.session_key(Settings(data_dir=new)) == keys.session_key(Settings(data_dir=old))
    for path in folder.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.fixture
def backup(
    tmp_path: Path, engine: Engine, database_url: str, use: Say, open_unit_of_work: OpenUnitOfWork
) -> Path:
    """One of a small site on an external database."""
    _fill(open_unit_of_work, 1)
    use(database_url)
    backing_up.back_up(tmp_path / "backup", SHIPPED, tmp_path / "site")
    engine.dispose()
    return tmp_path / "backup"


def test_what_is_there_is_only_replaced_when_told_and_then_as_a_whole(
    tmp_path: Path, backup: Path, engine: Engine, open_unit_of_work: OpenUnitOfWork
) -> None:
    with pytest.raises(PlaceTakenError):
        backing_up.restore(backup, str, data_dir=tmp_path / "site")
    before = _predictions(open_unit_of_work)
    _fill(open_unit_of_work, 1, first=1)  # what happened after the backup
    assert len(_predictions(open_unit_of_work)) == 2
    with pytest.raises(SiteInUseError):
        backing_up.restore(backup, str, data_dir=tmp_path / "site", overwrite=True)
    engine.dispose()
    found = backing_up.restore(backup, str, data_dir=tmp_path / "site", overwrite=True)
    assert found.is_sound, found
    assert _predictions(open_unit_of_work) == before


def test_a_damaged_backup_is_refused_and_nothing_is_touched(
    tmp_path: Path, backup: Path, engine: Engine, empty_database_url: str, use: Say
) -> None:
    use(empty_database_url)
    dump = backup / "database.dump"
    good = dump.read_bytes()
    dump.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(DamagedBackupError):
        backing_up.restore(backup, str, data_dir=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    dump.write_bytes(good)
    assert backing_up.restore(backup, str, data_dir=tmp_path / "new").is_sound


def test_a_backup_whose_log_was_edited_is_restored_and_said_not_to_be_sound(
    tmp_path: Path, backup: Path, engine: Engine, empty_database_url: str, use: Say
) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_entries DISABLE TRIGGER append_only"))
        connection.execute(text("UPDATE audit_entries SET actor = 'somebody else'"))
    backing_up.back_up(tmp_path / "edited", SHIPPED, tmp_path / "site")
    use(empty_database_url)
    found = backing_up.restore(tmp_path / "edited", str, data_dir=tmp_path / "new")
    assert not found.is_sound
    assert found.log.first_bad_index == 0
    assert found.unguarded == ("audit_entries",)


def test_a_backup_of_a_newer_schema_or_of_nothing_is_no_backup(
    tmp_path: Path, backup: Path
) -> None:
    manifest = json.loads((backup / "manifest.json").read_text())
    (backup / "manifest.json").write_text(json.dumps({**manifest, "revision": "9999"}))
    for folder in (backup, tmp_path / "nowhere"):
        with pytest.raises(backing_up.NotABackupError):
            backing_up.restore(folder, str, data_dir=tmp_path / "new")


def test_keys_that_settings_hold_are_named_for_they_are_not_in_the_backup(
    tmp_path: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINICAL_SESSION_KEY", "s" * 40)
    made = backing_up.back_up(tmp_path / "second", SHIPPED, tmp_path / "site")
    assert made.keys_elsewhere == ("CLINICAL_SESSION_KEY",)
