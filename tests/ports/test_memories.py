"""Port Memories: a few per patient, found by exactly the events that they hold, gone with the patient."""

import hashlib
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from clinical.prediction.memory import PatientMemory
from clinical.services.ports import OpenUnitOfWork
from clinical.timeline.chain import Prefix, is_kept
from clinical.timeline.patient import PatientRef
from tests.clinical.builders import PATIENT
from tests.fakes import MODEL, NOON

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("unaudited")]
OTHER_MODEL = replace(MODEL, manifest_digest="9" * 64, version="2")
OTHER_PATIENT = PatientRef("north", "p2").patient_id


def _prefix(num_blocks: int, events: str = "a") -> Prefix:
    digest = hashlib.sha256(f"{events}{num_blocks}".encode()).hexdigest()
    return Prefix(num_blocks, 256 * num_blocks, NOON + timedelta(days=num_blocks), digest)


def _memory(num_blocks: int, events: str = "a", **changes: object) -> PatientMemory:
    data = f"{events}{num_blocks}".encode()
    memory = PatientMemory(
        patient_id=PATIENT,
        manifest_digest=MODEL.manifest_digest,
        prefix=_prefix(num_blocks, events),
        code_version="c",
        torch_version="t",
        device="cpu (threads: 1)",
        data=data,
        digest=hashlib.sha256(data).hexdigest(),
    )
    return replace(memory, **changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _known(unaudited: None, open_unit_of_work: OpenUnitOfWork) -> None:
    refs = {PATIENT: PatientRef("north", "p1"), OTHER_PATIENT: PatientRef("north", "p2")}
    with open_unit_of_work() as uow:
        uow.timelines.add([], refs)
        uow.predictions.ensure_model(MODEL, NOON)
        uow.predictions.ensure_model(OTHER_MODEL, NOON)
        uow.commit()


def _keep(open_unit_of_work: OpenUnitOfWork, *memories: PatientMemory) -> None:
    with open_unit_of_work() as uow:
        uow.memories.keep(memories)
        uow.commit()


def _newest(
    open_unit_of_work: OpenUnitOfWork,
    prefixes: list[Prefix],
    patient_id: UUID = PATIENT,
    model: str = MODEL.manifest_digest,
) -> PatientMemory | None:
    with open_unit_of_work() as uow:
        return uow.memories.newest(patient_id, model, prefixes)


def test_a_memory_comes_back_to_the_last_bit(open_unit_of_work: OpenUnitOfWork) -> None:
    memory = _memory(3, data=bytes(range(256)))
    _keep(open_unit_of_work, memory)
    assert _newest(open_unit_of_work, [memory.prefix]) == memory


def test_the_one_that_reaches_furthest_is_found_among_those_of_just_these_events(
    open_unit_of_work: OpenUnitOfWork,
) -> None:
    _keep(open_unit_of_work, _memory(1), _memory(2), _memory(3))
    prefixes = [_prefix(1), _prefix(2)]
    assert _newest(open_unit_of_work, prefixes) == _memory(2)
    # An event of the second block was corrected: what was remembered before it is still good.
    assert _newest(open_unit_of_work, [_prefix(1), _prefix(2, "b"), _prefix(3, "b")]) == _memory(1)
    assert _newest(open_unit_of_work, [_prefix(1, "b")]) is None
    assert _newest(open_unit_of_work, []) is None
    assert _newest(open_unit_of_work, prefixes, patient_id=OTHER_PATIENT) is None
    assert _newest(open_unit_of_work, prefixes, model=OTHER_MODEL.manifest_digest) is None


def test_the_corrected_past_takes_the_place_of_the_old(open_unit_of_work: OpenUnitOfWork) -> None:
    _keep(open_unit_of_work, _memory(2))
    _keep(open_unit_of_work, _memory(2, "b"))
    assert _newest(open_unit_of_work, [_prefix(2)]) is None
    assert _newest(open_unit_of_work, [_prefix(2, "b")]) == _memory(2, "b")


def _held(engine: Engine) -> list[int]:
    question = text("SELECT num_blocks FROM patient_memories ORDER BY num_blocks")
    with engine.connect() as connection:
        return list(connection.execute(question).scalars())


def test_few_are_held_however_long_the_record_grows(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    for number in range(1, 41):
        _keep(open_unit_of_work, _memory(number))
    assert _held(engine) == [n for n in range(1, 41) if is_kept(n, 40)]
    assert len(_held(engine)) < 12


def test_what_another_model_remembered_is_let_go_and_another_patients_is_not(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    theirs = _memory(2, patient_id=OTHER_PATIENT)
    _keep(open_unit_of_work, theirs)
    _keep(open_unit_of_work, _memory(1))
    _keep(open_unit_of_work, _memory(1, manifest_digest=OTHER_MODEL.manifest_digest))
    assert _newest(open_unit_of_work, [_prefix(1)]) is None
    assert _newest(open_unit_of_work, [_prefix(2)], patient_id=OTHER_PATIENT) == theirs
    assert _held(engine) == [1, 2]


def test_what_is_remembered_of_a_patient_goes_with_the_patient(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    _keep(open_unit_of_work, _memory(1))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM patients WHERE patient_id = :id"), {"id": PATIENT})
    assert _held(engine) == []


def test_nothing_is_kept_of_a_transaction_that_was_not_committed(
    open_unit_of_work: OpenUnitOfWork, engine: Engine
) -> None:
    with open_unit_of_work() as uow:
        uow.memories.keep([_memory(1)])
    assert _held(engine) == []
