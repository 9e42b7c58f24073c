"""A patient is erased: nothing of them is left to be read, and every proof from before still holds."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from adapters.db.erasure import scrub
from clinical.audit.entry import AuditKind
from clinical.audit.proof import is_included
from clinical.audit.sealing import sealed
from clinical.errors import NotFoundError
from clinical.review.decision import Verdict
from clinical.services.audit import Inclusion
from clinical.services.delivery import Reading
from clinical.services.erasure import ErasureService
from clinical.services.intake import ErasedDeliveryError
from clinical.services.messages import MessageKind
from clinical.timeline.patient import PatientRef
from tests.clinical.builders import event
from tests.clinical.services.conftest import World

pytestmark = pytest.mark.integration

CANARY = "Canary-7f3a-Smith"
OTHER = PatientRef("north", "p2")
ERASED_REF = PatientRef("north", CANARY)


@pytest.fixture
def service(world: World) -> ErasureService:
    return ErasureService(
        open_unit_of_work=world.open_unit_of_work, clock=world.clock, identities=world.identities
    )


def _deliver(world: World, name: str, refs: dict[UUID, PatientRef]) -> UUID:
    """One delivery that tells of these patients, understood."""
    events = [
        event(f"{name}-{n}-{ref.record_id}", at=n, received=n, patient_id=patient_id)
        for patient_id, ref in refs.items()
        for n in range(12)
    ]
    world.reader.reading = Reading(events=events, patients=refs)
    body = json.dumps({"names": [ref.record_id for ref in refs.values()], "is": name}).encode()
    receipt = world.intake.receive(world.delivery(body, sender_id=name), world.act())
    world.intake.record(receipt.delivery_id, world.act())
    return receipt.delivery_id


def _decide(world: World, patient_id: UUID) -> None:
    world.predictions.make(patient_id, world.act())
    with world.open_unit_of_work() as uow:
        [review] = uow.reviews.open_for(patient_id)
    review = world.reviews.claim(review.review_id, world.act(), expected_version=review.version)
    world.reviews.sign(
        review.review_id,
        world.act(),
        expected_version=review.version,
        verdict=Verdict.AGREE,
        note="as I know " + (CANARY if patient_id == ERASED_REF.patient_id else "p2"),
    )
    with world.open_unit_of_work() as uow:
        [tell] = [
            m for m in uow.outbox.claim(100, timedelta(1)) if m.kind is MessageKind.WRITE_BACK
        ]
        uow.commit()
    world.write_back.tell(review.review_id, world.act(), message=tell)


@pytest.fixture
def lived(world: World) -> World:
    """Two patients with a course of their own, and a delivery that told of both."""
    erased, other = {ERASED_REF.patient_id: ERASED_REF}, {OTHER.patient_id: OTHER}
    _deliver(world, "one", erased)
    _deliver(world, "both", erased | other)
    _deliver(world, "again", erased)
    _deliver(world, "two", other)
    for patient_id in (*erased, *other):
        _decide(world, patient_id)
    world.audit.sequence()
    return world


def _rows_with(engine: Engine, needle: str) -> Iterator[str]:
    with engine.connect() as connection:
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        for table in connection.execute(text(tables)).scalars().all():
            found = connection.execute(
                text(
                    f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE :needle"
                    f" OR position(:hex IN t::text) > 0"
                ),
                {"needle": f"%{needle}%", "hex": needle.encode().hex()},
            ).scalar()
            if found:
                yield table


def test_nothing_of_the_patient_is_left_and_the_other_keeps_everything_but_shared_bytes(
    lived: World, service: ErasureService, engine: Engine
) -> None:
    patient_id = ERASED_REF.patient_id
    assert {"events", "deliveries", "decisions", "patients"} <= set(_rows_with(engine, CANARY))
    with lived.open_unit_of_work() as uow:
        others_timeline = uow.timelines.of(OTHER.patient_id).input_digest
        others = {p.request.prediction_id: p for p in uow.predictions.all()}
        others = {k: p for k, p in others.items() if p.request.patient_id == OTHER.patient_id}
    extent = service.extent(ERASED_REF)
    done = service.erase(ERASED_REF, "privacy officer")
    assert done.erased == extent
    assert (extent.num_deliveries, extent.num_shared) == (3, 1)
    assert (extent.num_predictions, extent.num_reviews, extent.num_decisions) == (1, 1, 1)
    assert extent.num_events == 36
    assert set(_rows_with(engine, str(patient_id))) == set()
    with lived.open_unit_of_work() as uow:
        assert uow.timelines.of(OTHER.patient_id).input_digest == others_timeline
        assert {p.request.prediction_id: p for p in uow.predictions.all()} == others
        assert uow.inbox.get(_held(lived, "two")).body
        assert uow.inbox.get(_held(lived, "both")).body == b""
    assert set(_rows_with(engine, CANARY)) == set()


def _held(world: World, sender_id: str) -> UUID:
    with world.open_unit_of_work() as uow:
        return uow.inbox.add(replace(world.delivery(sender_id=sender_id), body=b"other"))[1]


def test_every_proof_from_before_still_holds_and_the_log_is_sound(
    lived: World, service: ErasureService
) -> None:
    with lived.open_unit_of_work() as uow:
        entries = [entry for _, entry, _ in uow.audit_log.sequenced()]
    before = {entry.entry_id: lived.audit.proof_of(entry.entry_id) for entry in entries}
    sealing = [entry for entry in entries if entry.sealed_refs]
    done = service.erase(ERASED_REF, "privacy officer")
    lived.audit.sequence()
    for entry_id, proof in before.items():
        assert _holds(proof)
        now = lived.audit.proof_of(entry_id)
        assert now.entry == proof.entry
        assert _holds(now)
    report = lived.audit.verify()
    assert report.is_sound
    with lived.open_unit_of_work() as uow:
        salts = uow.audit_log.salts([entry.entry_id for entry in sealing])
    assert len(sealing) - len(salts) == done.erased.num_sealed == report.payloads.num_without_salt
    # Received thrice, predicted, signed, written back: none of these can be opened any more.
    assert done.erased.num_sealed == 6


def _holds(proof: Inclusion) -> bool:
    return is_included(proof.entry.leaf_hash, proof.index, proof.path, proof.head)


def test_the_entry_names_nobody_but_whoever_has_its_salt_can_show_of_whom_it_tells(
    lived: World, service: ErasureService
) -> None:
    done = service.erase(ERASED_REF, "privacy officer")
    with lived.open_unit_of_work() as uow:
        assert uow.audit_log.salts([done.entry_id]) == {}
    lived.audit.sequence()
    entry = lived.audit.proof_of(done.entry_id).entry
    assert (entry.kind, entry.actor) == (AuditKind.PATIENT_ERASED, "privacy officer")
    assert str(ERASED_REF.patient_id) not in entry.canonical().decode()
    assert entry.refs["patient"] == sealed(done.salt, "patient", str(ERASED_REF.patient_id))


def test_a_redelivery_of_what_was_erased_is_refused_and_written_down(
    lived: World, service: ErasureService
) -> None:
    service.erase(ERASED_REF, "privacy officer")
    with pytest.raises(ErasedDeliveryError):
        lived.intake.receive(lived.delivery(b"the same or not", sender_id="one"), lived.act())
    refused = lived.history(why=ErasedDeliveryError.code)
    assert [entry.kind for entry in refused] == [AuditKind.DELIVERY_REFUSED]
    assert lived.audit.verify().is_sound


def test_who_is_unknown_or_erased_already_is_not_found(
    lived: World, service: ErasureService
) -> None:
    service.erase(ERASED_REF, "privacy officer")
    for patient in (ERASED_REF, PatientRef("south", "p2")):
        with pytest.raises(NotFoundError):
            service.erase(patient, "privacy officer")


def test_scrubbed_tables_keep_nothing_on_the_disk(
    world: World, service: ErasureService, engine: Engine
) -> None:
    _deliver(world, "only", {ERASED_REF.patient_id: ERASED_REF})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CHECKPOINT"))
        folder = Path(
            connection.execute(
                text(
                    "SELECT current_setting('data_directory') || '/base/' || oid"
                    " FROM pg_database WHERE datname = current_database()"
                )
            ).scalar_one()
        )
    assert _files_with(folder, CANARY)
    service.erase(ERASED_REF, "privacy officer")
    scrub(engine)
    assert _files_with(folder, CANARY) == []


def _files_with(folder: Path, word: str) -> list[str]:
    return [f.name for f in folder.iterdir() if f.is_file() and word.encode() in f.read_bytes()]
