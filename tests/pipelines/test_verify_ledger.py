"""The verifier that an auditor takes away: it agrees with what is true and with nothing else."""

import ast
import hashlib
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clinical.audit.checkpoint import (
    Checkpoint,
    Note,
    NoteKey,
    Signature,
    SignatureKind,
    cosigned,
    proof_text,
)
from clinical.audit.proof import consistency_path, inclusion_path
from clinical.audit.tree import TreeHead, root_of
from pipelines import verify_ledger

SCRIPT = Path(verify_ledger.__file__)
ORIGIN, WITNESS, AT = "hospital.example/log", "witness.example/w1", 1_790_000_000
ENTRIES = [b'{"actor":"dr-a","entry_id":"%d"}' % number for number in range(23)]
LEAVES = [hashlib.sha256(b"\x00" + entry).digest() for entry in ENTRIES]


@dataclass(frozen=True)
class Keys:
    log: Ed25519PrivateKey
    witness: Ed25519PrivateKey

    @property
    def log_key(self) -> NoteKey:
        return NoteKey(ORIGIN, SignatureKind.LOG, self.log.public_key().public_bytes_raw())

    @property
    def witness_key(self) -> NoteKey:
        return NoteKey(WITNESS, SignatureKind.WITNESS, self.witness.public_key().public_bytes_raw())

    def checkpoint(self, leaves: list[bytes], *, is_seen: bool = True) -> str:
        text = Checkpoint(ORIGIN, TreeHead(len(leaves), root_of(leaves))).to_text()
        key, seen = self.log_key, self.witness_key
        lines = [Signature(key.name, key.key_id, self.log.sign(text.encode()))]
        if is_seen:
            content = AT.to_bytes(8) + self.witness.sign(cosigned(text, AT))
            lines.append(Signature(seen.name, seen.key_id, content))
        return Note(text, tuple(lines)).to_text()


KEYS = Keys(
    Ed25519PrivateKey.from_private_bytes(b"l" * 32), Ed25519PrivateKey.from_private_bytes(b"w" * 32)
)


def export(entries: list[bytes]) -> bytes:
    lines = (
        hashlib.sha256(b"\x00" + entry).hexdigest().encode() + b" " + entry for entry in entries
    )
    return b"".join(line + b"\n" for line in lines)


class Desk:
    """An auditor's folder: files by name, and the verifier asked about them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def put(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def asked(self, *words: str, keys: Keys = KEYS, is_witnessed: bool = True) -> tuple[bool, str]:
        trust = ["--log-key", keys.log_key.to_text()]
        trust += ["--witness-key", keys.witness_key.to_text()] if is_witnessed else []
        status = verify_ledger.main([*words, *trust])
        told = self.capsys.readouterr()
        return status == 0, told.out + told.err


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def test_the_verifier_is_one_file_that_imports_nothing_of_ours_and_stays_readable() -> None:
    source = SCRIPT.read_text("utf-8")
    assert len(source.splitlines()) <= 300
    names = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names <= set(sys.stdlib_module_names) | {"cryptography"}


def test_it_runs_alone_in_another_place(tmp_path: Path) -> None:
    taken = tmp_path / "verify_ledger.py"
    taken.write_bytes(SCRIPT.read_bytes())
    (tmp_path / "log.txt").write_bytes(export(ENTRIES))
    (tmp_path / "head.checkpoint").write_text(KEYS.checkpoint(LEAVES), "utf-8")
    (tmp_path / "log.key").write_text(KEYS.log_key.to_text() + "\n", "utf-8")
    words = ["export", "log.txt", "head.checkpoint", "--log-key", "log.key"]
    done = subprocess.run(
        [sys.executable, "-I", taken.name, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "exactly these 23 entries" in done.stdout


def test_a_proof_holds_for_its_entry_and_for_no_other(desk: Desk) -> None:
    for index in (0, 7, 22):
        note = KEYS.checkpoint(LEAVES)
        proof = desk.put("p.tlog-proof", proof_text(index, inclusion_path(index, LEAVES), note))
        own = desk.put("own.json", ENTRIES[index] + b"\n")
        other = desk.put("other.json", ENTRIES[(index + 1) % 23])
        assert desk.asked("proof", proof, own) == (
            True,
            f"entry {index} is among the 23 of {ORIGIN}\n",
        )
        holds, told = desk.asked("proof", proof, other)
        assert not holds
        assert "does not show" in told


def test_extra_data_before_the_index_are_passed_over(desk: Desk) -> None:
    text = proof_text(3, inclusion_path(3, LEAVES), KEYS.checkpoint(LEAVES))
    text = text.replace("index", "extra AAAA\nindex", 1)
    own = desk.put("own.json", ENTRIES[3])
    assert desk.asked("proof", desk.put("p", text), own)[0]


def test_growth_holds_from_every_earlier_size_and_not_for_a_log_that_was_rewritten(
    desk: Desk,
) -> None:
    new = desk.put("new", KEYS.checkpoint(LEAVES))
    for size in (0, 1, 4, 13, 23):
        path = consistency_path(size, LEAVES)
        lines = desk.put("path", "".join(f"{_b64(each)}\n" for each in path))
        old = desk.put("old", KEYS.checkpoint(LEAVES[:size]))
        assert desk.asked("grown", old, new, lines)[0], size
        rewritten = desk.put("old", KEYS.checkpoint([LEAVES[-1], *LEAVES[1:size]]))
        assert size == 0 or not desk.asked("grown", rewritten, new, lines)[0], size
    assert not desk.asked("grown", new, desk.put("short", KEYS.checkpoint(LEAVES[:9])), lines)[0]


def _b64(content: bytes) -> str:
    import base64

    return base64.b64encode(content).decode()


def _changed(entries: list[bytes], place: int) -> list[bytes]:
    return [*entries[:place], entries[place].replace(b"dr-a", b"dr-b"), *entries[place + 1 :]]


TAMPERED: dict[str, tuple[bytes, str]] = {
    "an entry edited": (
        export(ENTRIES).replace(ENTRIES[5], ENTRIES[5].replace(b"dr-a", b"dr-b")),
        "entry 5 was changed",
    ),
    "an entry edited with its hash": (export(_changed(ENTRIES, 5)), "not those of the checkpoint"),
    "one deleted": (export([*ENTRIES[:5], *ENTRIES[6:]]), "entry 22 is missing"),
    "the tail cut off": (export(ENTRIES[:20]), "entry 20 is missing"),
    "two exchanged": (
        export([ENTRIES[1], ENTRIES[0], *ENTRIES[2:]]),
        "not those of the checkpoint",
    ),
    "one twice": (export([ENTRIES[0], *ENTRIES]), "an entry 23"),
    "one inserted": (export([*ENTRIES[:9], b"{}", *ENTRIES[9:]]), "an entry 23"),
    "a hash edited": (b"0" + export(ENTRIES)[1:], "entry 0 was changed"),
    "nothing left": (b"", "entry 0 is missing"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_log_that_was_tampered_with_is_found_out_and_where(desk: Desk, how: str) -> None:
    content, words = TAMPERED[how]
    head = desk.put("head", KEYS.checkpoint(LEAVES))
    assert desk.asked("export", desk.put("true", export(ENTRIES)), head)[0]
    holds, told = desk.asked("export", desk.put("log", content), head)
    assert not holds
    assert words in told


def test_a_log_written_anew_and_signed_with_the_stolen_key_fails_for_want_of_the_witness(
    desk: Desk,
) -> None:
    forged = _changed(ENTRIES, 5)
    leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in forged]
    log = desk.put("log", export(forged))
    head = desk.put("head", KEYS.checkpoint(leaves, is_seen=False))
    assert desk.asked("export", log, head, is_witnessed=False)[0]  # alone it cannot be seen
    holds, told = desk.asked("export", log, head)
    assert not holds
    assert f"{WITNESS} did not sign" in told


def test_signatures_of_others_and_moved_ones_are_refused(desk: Desk) -> None:
    log, note = desk.put("log", export(ENTRIES)), KEYS.checkpoint(LEAVES)
    stranger = replace(KEYS, log=Ed25519PrivateKey.from_private_bytes(b"x" * 32))
    assert "did not sign" in desk.asked("export", log, desk.put("h", note), keys=stranger)[1]
    moved = note.replace("\n23\n", "\n22\n")
    assert "signature of" in desk.asked("export", log, desk.put("h", moved))[1]
    for text in ("", "no note\n", note.split("\n\n")[0] + "\n"):
        assert not desk.asked("export", log, desk.put("h", text))[0]


def test_what_is_no_proof_or_key_ends_in_words(desk: Desk, capsys: pytest.CaptureFixture[str]):
    own = desk.put("own.json", ENTRIES[0])
    for text in ("", "c2sp.org/tlog-proof@v1\n\n", "c2sp.org/tlog-proof@v1\nindex 01\n\nx\n\ny\n"):
        holds, told = desk.asked("proof", desk.put("p", text), own)
        assert not holds
        assert told.startswith("WRONG: ")
    with pytest.raises(SystemExit):
        verify_ledger.main(["proof", own, own, "--log-key", "name+00+AAAA"])
    assert "log-key" in capsys.readouterr().err
