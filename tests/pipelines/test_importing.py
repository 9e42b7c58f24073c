"""`clinical import`: everything is taken in, durable and once, in flat memory, and the report says so."""

import gzip
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine

from adapters.fhir import files
from clinical.audit.entry import Act
from clinical.services.audit import AuditService
from clinical.services.messages import Urgency
from pipelines.importing import ACTOR, Importer, PathNotFoundError, UnreadableFileError
from tests.pipelines.importing_stage import (
    SITE,
    Stage,
    bundle,
    command,
    ndjson,
    observation,
    patient,
    sample_folder,
    stage_on,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def stage(engine: Engine) -> Stage:
    return stage_on(engine)


def test_a_folder_of_bundles_is_taken_in_whole_with_its_bytes(stage: Stage, tmp_path: Path) -> None:
    bodies = sample_folder(tmp_path / "in", 5)
    report = stage.take(tmp_path / "in")
    assert (report.num_files, report.num_deliveries, report.num_repeated) == (5, 5, 0)
    assert report.family("record")["Patient"] == 5
    assert report.quarantined.total() == 0
    assert report.num_new_events == report.num_events > 500

    sizes = stage.sizes()
    assert sizes["events"] == report.num_new_events
    assert sizes["patients"] == 5
    assert sorted(map(hash_of, stage.bodies())) == sorted(map(hash_of, bodies))

    with stage.open_unit_of_work() as uow:
        patient_ids = list(uow.timelines.patient_ids())
        timelines = [uow.timelines.of(patient_id) for patient_id in patient_ids]
        assert uow.outbox.pending() == 5  # a prediction is owed for each
    assert sum(len(timeline.versions) for timeline in timelines) == report.num_new_events


def test_every_delivery_leaves_two_audit_entries_in_a_sound_log(
    stage: Stage, tmp_path: Path
) -> None:
    sample_folder(tmp_path / "in", 2)
    stage.take(tmp_path / "in")
    service = AuditService(open_unit_of_work=stage.open_unit_of_work, clock=stage.intake.clock)
    assert service.sequence() == 4
    assert service.verify().is_sound


def test_importing_twice_changes_nothing_and_the_report_says_so(
    stage: Stage, tmp_path: Path
) -> None:
    sample_folder(tmp_path / "in", 3)
    stage.take(tmp_path / "in")
    before = stage.sizes()
    again = stage.take(tmp_path / "in")
    assert stage.sizes() == before
    assert (again.num_deliveries, again.num_repeated, again.num_new_events) == (3, 3, 0)


def test_the_same_facts_in_other_wrapping_add_no_event(stage: Stage, tmp_path: Path) -> None:
    resources = [patient(), *(observation(f"o{n}") for n in range(30))]
    (tmp_path / "a.ndjson").write_bytes(ndjson(*resources))
    (tmp_path / "b.ndjson.gz").write_bytes(gzip.compress(ndjson(*resources[::-1])))
    first = stage.take(tmp_path / "a.ndjson")
    second = stage.take(tmp_path / "b.ndjson.gz")
    assert first.num_new_events == first.num_events == second.num_events
    assert (second.num_repeated, second.num_new_events) == (0, 0)
    assert stage.sizes()["events"] == first.num_new_events


def test_an_import_that_broke_off_before_understanding_is_taken_up_again(
    stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_bytes(bundle(patient(), observation("o1")))
    [delivery] = files.deliveries(
        tmp_path, site=SITE, clock=stage.intake.clock, identities=stage.intake.identities
    )
    act = Act(actor=ACTOR, at=stage.intake.clock.now())
    stage.intake.receive(delivery, act, understand_later=False)
    assert stage.sizes()["events"] == 0

    report = stage.take(tmp_path)
    assert report.num_repeated == 1
    assert report.num_new_events == stage.sizes()["events"] > 0


def test_two_imports_of_the_same_at_the_same_time_store_it_once(
    stage: Stage, tmp_path: Path
) -> None:
    sample_folder(tmp_path / "in", 6)
    lines = [observation(f"o{n}", subject={"reference": f"Patient/p{n % 7}"}) for n in range(4000)]
    (tmp_path / "in" / "z.ndjson").write_bytes(ndjson(*lines))
    start = threading.Barrier(2)

    def take(_: int) -> int:
        start.wait()
        return stage.take(tmp_path / "in").num_new_events

    with ThreadPoolExecutor(2) as pool:
        new = list(pool.map(take, range(2)))
    assert sum(new) == stage.sizes()["events"]
    assert stage.sizes()["deliveries"] == 10
    with stage.open_unit_of_work() as uow:
        assert uow.outbox.pending() == 13


def test_without_predictions_none_is_owed(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(bundle(patient(), observation("o1")))
    report = stage.take(tmp_path, predict=False)
    assert report.num_new_events > 0
    with stage.open_unit_of_work() as uow:
        assert uow.outbox.pending() == 0


def test_a_meds_folder_is_known_by_its_tables_and_what_lies_beside_them_is_counted(
    stage: Stage, tmp_path: Path
) -> None:
    rows = {
        "subject_id": [1, 1, 1, 2],
        "time": [None, *[datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2, 3)]],
        "code": ["MEDS_BIRTH", "LOINC//8480-6", "LOINC//8480-6", "LOINC//8480-6"],
        "numeric_value": [None, 120.0, 130.0, 110.0],
    }
    rows["time"][0] = datetime(1960, 1, 1, tzinfo=UTC)
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "data" / "0.parquet")
    (tmp_path / "notes.txt").write_text("of no kind that is read")
    for path, num_ignored in ((tmp_path, 1), (tmp_path / "data" / "0.parquet", 0)):
        report = stage.take(path)
        assert report.num_files_ignored == num_ignored
        assert report.quarantined.total() == 0
    sizes = stage.sizes()
    assert sizes["events"] == 4
    assert sizes["patients"] == 2


def test_files_of_another_kind_are_counted_and_the_rest_goes_on(
    stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("a note")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.json").write_bytes(bundle(patient()))
    report = stage.take(tmp_path)
    assert (report.num_files, report.num_files_ignored) == (1, 1)
    assert report.num_new_events > 0


def test_a_path_with_nothing_to_take_in_has_a_named_error(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError):
        stage.take(tmp_path / "nowhere")
    with pytest.raises(files.NothingToImportError):
        stage.take(tmp_path)
    (tmp_path / "a.txt").write_text("a note")
    with pytest.raises(files.NothingToImportError):
        stage.take(tmp_path / "a.txt")


def test_a_file_that_cannot_be_opened_has_a_named_error_and_stops_no_other(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests may run as root, to whom every file is open: the refusal is made by hand."""
    (tmp_path / "a.json").write_bytes(bundle(patient("p1")))
    (tmp_path / "b.json").write_bytes(bundle(patient("p2")))
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "a.json":
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    report = stage.take(tmp_path)
    assert (report.num_files, report.num_files_unreadable) == (1, 1)
    assert stage.sizes()["patients"] == 1
    with pytest.raises(UnreadableFileError):
        stage.take(tmp_path / "a.json")


def test_the_command_takes_in_tells_what_and_ends_well(tmp_path: Path, database_url: str) -> None:
    sample_folder(tmp_path / "in", 2)
    (tmp_path / "in" / "broken.json").write_bytes(b"{")
    first = command(tmp_path, "in", "--site", SITE, database_url=database_url)
    assert first.code == 0, first.errors
    assert "Patient" in first.output
    assert "fhir.not_json" in first.output
    assert "records/s" in first.output
    second = command(tmp_path, "in", "--site", SITE, database_url=database_url)
    assert second.code == 0, second.errors
    assert "nothing changed" in second.output
    for secret in ("broken.json", "in/"):
        assert secret not in first.output + first.errors


def test_the_command_ends_with_a_named_error_when_nothing_could_be_read(
    tmp_path: Path, database_url: str
) -> None:
    missing = command(tmp_path, "nowhere", database_url=database_url)
    assert missing.code == 1
    assert "import.path_not_found" in missing.errors
    (tmp_path / "a.txt").write_text("a note")
    nothing = command(tmp_path, "a.txt", database_url=database_url)
    assert nothing.code == 1
    assert "fhir.nothing_to_import" in nothing.errors
    assert "Traceback" not in missing.errors + nothing.errors


def test_the_command_starts_a_database_of_its_own_where_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(bundle(patient(), observation("o1")))
    assert command(tmp_path, "a.json", "--no-predict").code == 0
    again = command(tmp_path, "a.json", "--no-predict")
    assert again.code == 0, again.errors
    assert "nothing changed" in again.output


def test_memory_does_not_grow_with_the_input(tmp_path: Path, database_url: str) -> None:
    """Ten times the lines, the same memory: what grows is the database's disk."""
    peaks = []
    for count in (3_000, 30_000):
        path = tmp_path / f"{count}.ndjson"
        with path.open("wb") as file:
            for number in range(count):
                who = {"reference": f"Patient/{count}-{number // 20}"}
                file.write(ndjson(observation(f"{count}-{number}", subject=who)))
        ended = command(tmp_path, path.name, "--no-predict", database_url=database_url)
        assert ended.code == 0, ended.errors
        peaks.append(ended.peak_mib)
    assert peaks[1] < 400
    assert peaks[1] - peaks[0] < 50


def hash_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_while_live_work_waits_an_import_takes_in_nothing_more(
    stage: Stage, tmp_path: Path
) -> None:
    sample_folder(tmp_path / "in", 2)
    looks = iter([True, True, False, False])
    held: list[int] = []

    def is_crowded() -> bool:
        held.append(stage.sizes()["deliveries"])
        return next(looks)

    importer = Importer(
        intake=stage.intake,
        clock=stage.intake.clock,
        identities=stage.intake.identities,
        site=SITE,
        is_crowded=is_crowded,
    )
    report = importer.run(tmp_path / "in", lambda _: None)
    assert held[:3] == [0, 0, 0]
    assert report.num_deliveries == 2
    with stage.open_unit_of_work() as uow:
        owed = uow.outbox.claim(10, timedelta(minutes=1))
    assert {message.urgency for message in owed} == {Urgency.BACKFILL}
