"""The audit log for others: signed, cosigned, proven in files, and never again once it was rewritten."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from adapters.http.app import create_app
from adapters.notary import Ed25519Notary, is_signature
from clinical.audit.checkpoint import Checkpoint, Note, NoteKey, SignatureKind
from clinical.audit.entry import AuditEntry
from clinical.audit.tree import TreeHead
from pipelines import verify_ledger
from pipelines.witness import ForkedLogError, SilentLogError, Witness, watch
from tests.adapters.http.conftest import LOG_NOTARY, WITNESS_NOTARY, Stage, served

pytestmark = pytest.mark.integration

LOG_KEY = ["--log-key", LOG_NOTARY.key.to_text()]
WITNESS_KEY = ["--witness-key", WITNESS_NOTARY.key.to_text()]
LOG_HEAD = TreeHead(1, bytes(32))
_TABLES = ("audit_signatures", "audit_heads", "audit_nodes", "audit_leaves", "audit_pending")


@pytest.fixture
def log(stage: Stage) -> Iterator[httpx.Client]:
    """The log as others see it: over the network, without a session."""
    with served(create_app(stage.deps)) as client:
        yield client


@pytest.fixture
def witness(log: httpx.Client, tmp_path: Path) -> Witness:
    return Witness(
        log=log,
        log_key=LOG_NOTARY.key,
        notary=WITNESS_NOTARY,
        memory=tmp_path / "seen.checkpoint",
        clock=lambda: 1_790_000_000.0,
    )


def entries(stage: Stage) -> list[AuditEntry]:
    with stage.deps.open_unit_of_work() as uow:
        return [entry for _, entry, _ in uow.audit_log.sequenced()]


def checkpoint(log: httpx.Client) -> Note:
    return Note.from_text(log.get("/v1/ledger/checkpoint").raise_for_status().text)


def rewrite(stage: Stage, engine: Engine) -> None:
    """What only the owner of the database can: begin the log anew, with the same key."""
    with engine.begin() as connection:
        for table in _TABLES:
            connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            connection.execute(text(f"DELETE FROM {table}"))
            connection.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))
        connection.execute(
            text("INSERT INTO audit_pending SELECT entry_id FROM audit_entries OFFSET 1")
        )
    for number in range(3):
        stage.add_patient(f"later-{number}")
    stage.publish_audit()


def test_nothing_is_shown_before_it_was_signed(stage: Stage, log: httpx.Client) -> None:
    assert not stage.deps.ledger.publish()  # of an empty log there is nothing to say
    stage.add_patient("p1")
    early = log.get("/v1/ledger/checkpoint")
    assert (early.status_code, early.headers["retry-after"]) == (503, "1")
    assert early.json()["type"].endswith("audit.not_yet_sequenced")


def test_a_checkpoint_is_signed_with_the_key_that_the_log_tells(
    stage: Stage, log: httpx.Client
) -> None:
    stage.add_patient("p1")
    stage.publish_audit()
    key = NoteKey.from_text(log.get("/v1/ledger/key").text)
    note = checkpoint(log)
    assert key == LOG_NOTARY.key
    assert note.signed_by(key, is_signature) == 0
    told = Checkpoint.from_text(note.text)
    assert (told.origin, told.head.size) == ("north.example/log", len(entries(stage)))
    assert not stage.deps.ledger.publish()  # nothing new: nothing is signed again


def test_the_proof_of_an_entry_is_a_file_that_others_check(
    stage: Stage, log: httpx.Client, witness: Witness, tmp_path: Path
) -> None:
    stage.sign_in()
    stage.add_patient("p1")
    stage.publish_audit()
    witness.look()
    for number, entry in enumerate(entries(stage)):
        proof, own = tmp_path / "own.tlog-proof", tmp_path / "entry.json"
        proof.write_text(stage.get(f"/v1/ledger/entries/{entry.entry_id}/proof").text, "utf-8")
        own.write_bytes(entry.canonical())
        words = ["proof", str(proof), str(own), *LOG_KEY, *WITNESS_KEY]
        assert verify_ledger.main(words) == 0, number
        own.write_bytes(entry.canonical().replace(b"kind", b"Kind"))
        assert verify_ledger.main(words) == 1
    assert log.get(f"/v1/ledger/entries/{entry.entry_id}/proof").status_code == 401


def test_an_export_is_checked_without_the_service(stage: Stage, tmp_path: Path) -> None:
    stage.add_patient("p1")
    stage.publish_audit()
    note = stage.deps.ledger.checkpoint()
    stage.add_patient("p2")  # what comes later is not under that checkpoint
    stage.sequence_audit()
    out, head = tmp_path / "ledger.txt", tmp_path / "ledger.checkpoint"
    out.write_bytes(b"".join(stage.deps.ledger.export(note)))
    head.write_text(note.to_text(), "utf-8")
    assert verify_ledger.main(["export", str(out), str(head), *LOG_KEY]) == 0
    out.write_bytes(out.read_bytes().replace(b"review", b"Review", 1))
    assert verify_ledger.main(["export", str(out), str(head), *LOG_KEY]) == 1


def test_a_witness_cosigns_what_grows_and_the_log_shows_it(
    stage: Stage, log: httpx.Client, witness: Witness
) -> None:
    for number in range(3):
        stage.add_patient(f"p{number}")
        stage.publish_audit()
        seen = witness.look()
        assert seen == Checkpoint.from_text(checkpoint(log).text)
        assert checkpoint(log).signed_by(WITNESS_NOTARY.key, is_signature) == 1_790_000_000
        assert witness.look() == seen  # nothing new: it signs the same again, and it is kept once
        assert len(checkpoint(log).signatures) == 2


def test_a_log_that_was_rewritten_with_its_own_key_gets_no_cosignature_any_more(
    stage: Stage, engine: Engine, log: httpx.Client, witness: Witness
) -> None:
    stage.add_patient("p1")
    stage.publish_audit()
    before = witness.look()
    rewrite(stage, engine)
    forged = checkpoint(log)
    assert forged.signed_by(LOG_NOTARY.key, is_signature) == 0
    assert Checkpoint.from_text(forged.text).head.size > before.head.size
    with pytest.raises(ForkedLogError):
        witness.look()
    assert checkpoint(log).signed_by(WITNESS_NOTARY.key, is_signature) is None
    kept = Note.from_text(witness.memory.with_suffix(".fork").read_text("utf-8"))
    assert kept.text == forged.text
    assert Checkpoint.from_text(Note.from_text(witness.memory.read_text("utf-8")).text) == before


def test_a_witness_that_lost_its_memory_to_somebody_else_refuses_to_go_on(
    stage: Stage, witness: Witness
) -> None:
    stage.add_patient("p1")
    stage.publish_audit()
    witness.memory.write_text(stage.deps.ledger.checkpoint().to_text(), "utf-8")
    with pytest.raises(ForkedLogError):
        witness.look()


def test_watching_goes_on_while_the_log_is_silent_and_ends_when_it_forks(
    stage: Stage, engine: Engine, witness: Witness
) -> None:
    told: list[str] = []
    acts = iter(
        [
            lambda: (stage.add_patient("p1"), stage.publish_audit()),
            lambda: None,
            lambda: rewrite(stage, engine),
        ]
    )
    with pytest.raises(ForkedLogError):
        watch(witness, 0.0, told.append, pause=lambda _: next(acts)())
    assert told[0].startswith("witness.silent_log")
    assert told[1:] == [f"north.example/log: {_size_seen(witness)} entries seen and cosigned"]


def _size_seen(witness: Witness) -> int:
    note = Note.from_text(witness.memory.read_text("utf-8"))
    return Checkpoint.from_text(note.text).head.size


def test_strangers_and_moved_signatures_are_refused(stage: Stage, log: httpx.Client) -> None:
    stage.add_patient("p1")
    stage.publish_audit()
    note = stage.deps.ledger.checkpoint()
    stranger = Ed25519Notary.of("witness.example/w2", SignatureKind.WITNESS, b"s" * 32)
    own = WITNESS_NOTARY.cosign(note.text, 7)
    other = Checkpoint("north.example/log", LOG_HEAD).to_text()
    refused = {
        "nobody's": (Note(note.text, (stranger.cosign(note.text, 7),)), 403),
        "of another head": (Note(other, (own,)), 403),
        "of a head that never was": (Note(other, (WITNESS_NOTARY.cosign(other, 7),)), 403),
        "of nothing": (Note("no checkpoint\n", (own,)), 400),
    }
    for words, (told, status) in refused.items():
        answer = log.post("/v1/ledger/cosignatures", content=told.to_text().encode())
        assert answer.status_code == status, words
    assert log.post("/v1/ledger/cosignatures", content=b"\xff").status_code == 400
    assert log.post("/v1/ledger/cosignatures", content=b"x" * 70_000).status_code == 413
    assert len(checkpoint(log).signatures) == 1
    good = Note(note.text, (own,)).to_text().encode()
    assert log.post("/v1/ledger/cosignatures", content=good).json() == {"num_accepted": 1}


def test_a_witness_does_not_sign_for_another_key_or_a_log_that_is_away(
    stage: Stage, witness: Witness, log: httpx.Client, tmp_path: Path
) -> None:
    stage.add_patient("p1")
    with pytest.raises(SilentLogError):
        witness.look()
    stage.publish_audit()
    other = Ed25519Notary.of("north.example/log", SignatureKind.LOG, b"o" * 32)
    mistaken = Witness(log=log, log_key=other.key, notary=WITNESS_NOTARY, memory=tmp_path / "other")
    with pytest.raises(SilentLogError):
        mistaken.look()
    assert not mistaken.memory.exists()
