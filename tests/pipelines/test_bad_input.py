"""Bad input, at the import and at the door of webhooks: a reason for each, nothing lost, nothing crashes.

What the reasons are is tried record by record in `tests/adapters/fhir`; here it is the whole way to
the database: the bytes can be fetched as they came, a row of quarantine says why, and what stood
beside the bad record is a patient's event.
"""

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.fhir.errors import Reason
from clinical.audit.entry import Act
from clinical.services.delivery import Delivery, Door
from clinical.timeline.event import Flag
from clinical.timeline.patient import PatientRef
from clinical.timeline.quantity import Quantity
from tests.pipelines.importing_stage import (
    SITE,
    Stage,
    bundle,
    command,
    ndjson,
    observation,
    patient,
    stage_on,
)

pytestmark = pytest.mark.integration

P1 = PatientRef(SITE, "p1").patient_id
SECRET = "Quixote-Dulcinea"


@pytest.fixture
def stage(engine: Engine) -> Stage:
    return stage_on(engine)


def without_subject() -> dict[str, Any]:
    resource = observation("bad")
    del resource["subject"]
    return resource


BAD_RECORDS: dict[str, tuple[dict[str, Any], Reason]] = {
    "wrong resource type": (
        {"resourceType": SECRET, "id": "bad"},
        Reason.UNKNOWN_RESOURCE_TYPE,
    ),
    "unknown element": (observation("bad", blodPressure=SECRET), Reason.UNKNOWN_ELEMENT),
    "impossible date": (
        observation("bad", effectiveDateTime="2023-02-30"),
        Reason.IMPOSSIBLE_TIME,
    ),
    "wrong type": (observation("bad", status={"is": SECRET}), Reason.WRONG_TYPE),
    "missing patient": (without_subject(), Reason.MISSING_PATIENT),
    "reference to nobody": (
        observation("bad", subject={"reference": "urn:uuid:00000000-0000-4000-8000-000000000000"}),
        Reason.UNRESOLVED_REFERENCE,
    ),
}

BAD_BODIES: dict[str, tuple[bytes, Reason]] = {
    "not JSON": (f"{SECRET} is no JSON".encode(), Reason.NOT_JSON),
    "half of a Bundle": (bundle(patient(), observation("o1"))[:-40], Reason.NOT_JSON),
    "nothing at all": (b"", Reason.NOT_JSON),
    "a list": (b"[]", Reason.NOT_AN_OBJECT),
    "an object of no type": (json.dumps({"name": SECRET}).encode(), Reason.NO_RESOURCE_TYPE),
    "nested too deep": (b'{"resourceType":' + b"[" * 100_000, Reason.NOT_JSON),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_a_bad_record_is_kept_aside_with_its_reason_and_its_neighbours_go_on(
    stage: Stage, tmp_path: Path, case: str
) -> None:
    record, reason = BAD_RECORDS[case]
    body = bundle(patient(), record, observation("good"))
    (tmp_path / "a.json").write_bytes(body)
    report = stage.take(tmp_path)
    assert report.quarantined == {reason.value: 1}
    assert stage.bodies() == [body]
    [kept] = stage.quarantined()
    assert (kept.reason_code, kept.position) == (reason.value, "entry[1]")
    assert kept.digest == hashlib.sha256(json.dumps(record).encode()).hexdigest()
    assert kept.detail
    assert SECRET not in kept.detail
    assert systolic_count(stage) == 1


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_the_strict_door_keeps_the_same_record_aside_for_the_same_reason(
    stage: Stage, case: str
) -> None:
    record, reason = BAD_RECORDS[case]
    body = bundle(patient(), record, observation("good"))
    deliver(stage, body)
    assert stage.bodies() == [body]
    assert [kept.reason_code for kept in stage.quarantined()] == [reason.value]
    assert systolic_count(stage) == 1


@pytest.mark.parametrize("case", BAD_BODIES)
def test_a_body_that_cannot_be_opened_is_kept_whole_with_its_reason(
    stage: Stage, tmp_path: Path, case: str
) -> None:
    body, reason = BAD_BODIES[case]
    (tmp_path / "bad.json").write_bytes(body)
    (tmp_path / "good.json").write_bytes(bundle(patient(), observation("o1")))
    report = stage.take(tmp_path)
    assert report.quarantined.total() == 1
    assert set(report.quarantined) <= {reason.value, Reason.TOO_DEEP.value}
    assert body in stage.bodies()
    [kept] = stage.quarantined()
    assert kept.digest == hashlib.sha256(body).hexdigest()
    assert SECRET not in kept.detail
    assert systolic_count(stage) == 1


def test_an_unknown_unit_is_kept_and_counted_and_the_value_not_computed_with(
    stage: Stage, tmp_path: Path
) -> None:
    value = {"value": 12.50, "unit": "smoots"}
    (tmp_path / "a.json").write_bytes(bundle(patient(), observation("o1", valueQuantity=value)))
    report = stage.take(tmp_path)
    assert report.quarantined.total() == 0
    assert report.family("unmapped_unit") == {"smoots": 1}
    with stage.open_unit_of_work() as uow:
        [event] = [e for e in uow.timelines.of(P1) if e.code.value == "8480-6"]
    assert isinstance(event.value, Quantity)
    assert (str(event.value.value), event.value.unit, event.value.unit_text) == (
        "12.5",
        None,
        "smoots",
    )
    assert not event.value.is_computable
    assert Flag.UNKNOWN_UNIT in event.flags


def test_an_empty_bundle_is_taken_in_and_brings_nothing(stage: Stage, tmp_path: Path) -> None:
    bodies = [bundle(), b'{"resourceType":"Bundle","type":"transaction"}']
    for number, body in enumerate(bodies):
        (tmp_path / f"{number}.json").write_bytes(body)
    report = stage.take(tmp_path)
    assert (report.num_deliveries, report.num_events, report.quarantined.total()) == (2, 0, 0)
    assert sorted(stage.bodies()) == sorted(bodies)
    assert stage.take(tmp_path).num_repeated == 2


def test_a_reference_to_a_patient_who_was_not_sent_is_a_patient_we_know_by_name_alone(
    stage: Stage, tmp_path: Path
) -> None:
    """A literal `Patient/p1` may be of a file that comes later, or that the site never sends."""
    (tmp_path / "a.json").write_bytes(bundle(observation("o1")))
    report = stage.take(tmp_path)
    assert (report.num_new_events, report.quarantined.total()) == (1, 0)
    with stage.open_unit_of_work() as uow:
        assert uow.timelines.patient(P1) == PatientRef(SITE, "p1")


@pytest.mark.parametrize("name", ["a.json.gz", "a.ndjson.gz"])
def test_a_truncated_gzip_is_kept_and_what_was_read_before_its_end_is_used(
    stage: Stage, tmp_path: Path, name: str
) -> None:
    resources = [patient(), *(observation(f"o{n}") for n in range(5_000))]
    text = ndjson(*resources) if "ndjson" in name else bundle(*resources)
    body = gzip.compress(text)[:-2_000]
    (tmp_path / name).write_bytes(body)
    report = stage.take(tmp_path)
    assert report.quarantined == {Reason.TRUNCATED_FILE.value: 1}
    if "ndjson" in name:
        assert 1_000 < systolic_count(stage) < 5_000
        held = b"".join(stage.bodies())
        assert held == text[: len(held)]
    else:
        assert systolic_count(stage) == 0
        assert stage.bodies() == [body]


def sparse(path: Path, first: bytes) -> None:
    with path.open("wb") as file:
        file.write(first)
        file.truncate(200_000_000)


def bomb(path: Path, first: bytes) -> None:
    with gzip.open(path, "wb") as file:
        file.write(first)
        for _ in range(200):
            file.write(b" " * 1_000_000)


def test_two_hundred_megabytes_are_refused_by_name_in_little_memory(
    stage: Stage, tmp_path: Path, database_url: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    start = b'{"resourceType":"Bundle","type":"'
    sparse(folder / "a.json", start)
    sparse(folder / "b.ndjson", start)
    bomb(folder / "c.json.gz", start)
    bomb(folder / "d.ndjson.gz", start + b"x")
    (folder / "e.json").write_bytes(bundle(patient(), observation("o1")))
    ended = command(tmp_path, "in", "--site", SITE, database_url=database_url)
    assert ended.code == 0, ended.errors
    assert ended.peak_mib < 400
    reasons = Counter(kept.reason_code for kept in stage.quarantined())
    assert set(reasons) == {
        Reason.TOO_LARGE,
        Reason.LINE_TOO_LONG,
        Reason.DECOMPRESSION_BOMB,
    }
    assert reasons[Reason.DECOMPRESSION_BOMB] == 2
    assert systolic_count(stage) == 1


def test_what_is_broken_is_kept_once_however_often_it_comes(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"{")
    (tmp_path / "b.json").write_bytes(bundle(patient(), BAD_RECORDS["unknown element"][0]))
    stage.take(tmp_path)
    before = stage.sizes()
    assert stage.take(tmp_path).num_repeated == 2
    assert stage.sizes() == before
    assert before["quarantine"] == 2


def test_nothing_of_a_bad_record_reaches_the_screen(tmp_path: Path, database_url: str) -> None:
    records = [record for record, _ in BAD_RECORDS.values()]
    (tmp_path / f"{SECRET}.json").write_bytes(bundle(*records))
    (tmp_path / "b.json").write_bytes(f"{SECRET} is no JSON".encode())
    ended = command(tmp_path, ".", database_url=database_url)
    assert ended.code == 0, ended.errors
    assert SECRET not in ended.output + ended.errors


def deliver(stage: Stage, body: bytes) -> None:
    """Receive and record a body as the webhook's worker does."""
    clock, identities = stage.intake.clock, stage.intake.identities
    delivery = Delivery(
        delivery_id=identities.new(),
        site=SITE,
        door=Door.FHIR,
        sender_id="message-1",
        body=body,
        content_type="application/fhir+json",
        received_at=clock.now(),
    )
    act = Act(actor="webhook", at=clock.now())
    receipt = stage.intake.receive(delivery, act)
    stage.intake.record(receipt.delivery_id, act)


def systolic_count(stage: Stage) -> int:
    """How many blood pressures the patient `p1` has."""
    with stage.open_unit_of_work() as uow:
        return sum(event.code.value == "8480-6" for event in uow.timelines.of(P1))
