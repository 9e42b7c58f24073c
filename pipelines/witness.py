"""A witness of an audit log: a process of its own, with its own key on its own disk.

It remembers the largest checkpoint that it saw and cosigns a larger one only when it is proven that
the log merely grew. Whoever rewrites the log, even with the log's key, cannot make it sign. Knows a
log by its address and its key; knows nothing of what is in it.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from adapters.notary import Ed25519Notary, is_signature
from clinical.audit.checkpoint import Checkpoint, Note, NoteKey, Signature
from clinical.audit.proof import is_consistent
from clinical.errors import ClinicalError, OperationalError, RejectedError

_TIMEOUT_SECONDS = 10.0


class ForkedLogError(RejectedError):
    """The log shows a head that does not continue the one that was seen before: it was rewritten."""

    code = "witness.forked_log"


class SilentLogError(OperationalError):
    """The log does not answer, or with something else."""

    code = "witness.silent_log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Sees one log; `memory` is the file of the last checkpoint that it cosigned."""

    log: httpx.Client
    log_key: NoteKey
    notary: Ed25519Notary
    memory: Path
    clock: Callable[[], float] = time.time

    def look(self) -> Checkpoint:
        """Fetch the newest checkpoint, cosign it if it continues the last one, and tell the log.

        Raises:
            ForkedLogError: what was fetched is kept beside the memory, as evidence.
            UntrustedNoteError, MalformedNoteError, SilentLogError
        """
        note = Note.from_text(self._get("/v1/ledger/checkpoint").text)
        if note.signed_by(self.log_key, is_signature) is None:
            raise SilentLogError("the checkpoint is not signed with the key of the log")
        new = Checkpoint.from_text(note.text)
        if new.origin != self.log_key.name:
            raise SilentLogError("the checkpoint is that of another log")
        old = self._remembered()
        if old is not None:
            self._require_growth(old, new, note)
        own = self.notary.cosign(note.text, int(self.clock()))
        # Remembered before it is told: a witness that forgot could be made to sign a fork.
        self._remember(Note(note.text, (*_of(note, self.log_key), own)))
        self._tell(Note(note.text, (own,)))
        return new

    def _require_growth(self, old: Checkpoint, new: Checkpoint, note: Note) -> None:
        if old.head.size > new.head.size:
            self._refuse(note, "is shorter than it was")
        query = {"old": str(old.head.size), "size": str(new.head.size)}
        path = self._get("/v1/ledger/growth", query).json()["path"]
        if not is_consistent(old.head, new.head, [bytes.fromhex(each) for each in path]):
            self._refuse(note, "does not begin with what it was")

    def _refuse(self, note: Note, words: str) -> None:
        _write(self.memory.with_suffix(".fork"), note.to_text())
        raise ForkedLogError(f"the log {words}; what it shows now is kept beside what was seen")

    def _remembered(self) -> Checkpoint | None:
        if not self.memory.exists():
            return None
        note = Note.from_text(self.memory.read_text("utf-8"))
        if note.signed_by(self.notary.key, is_signature) is None:
            raise ForkedLogError("what this witness remembers is not signed by itself")
        return Checkpoint.from_text(note.text)

    def _remember(self, note: Note) -> None:
        _write(self.memory, note.to_text())

    def _get(self, path: str, query: dict[str, str] | None = None) -> httpx.Response:
        try:
            answer = self.log.get(path, params=query, timeout=_TIMEOUT_SECONDS)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise SilentLogError("the log does not answer") from error
        return answer

    def _tell(self, note: Note) -> None:
        body = note.to_text().encode()
        try:
            answer = self.log.post(
                "/v1/ledger/cosignatures", content=body, timeout=_TIMEOUT_SECONDS
            )
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.FORBIDDEN:
                raise SilentLogError(
                    "seen, but the log does not know this witness: its key belongs into "
                    "CLINICAL_LEDGER_WITNESSES there"
                ) from error
            raise SilentLogError("the log does not take the cosignature") from error
        except httpx.HTTPError as error:
            raise SilentLogError("the log does not take the cosignature") from error


def _of(note: Note, key: NoteKey) -> list[Signature]:
    return [each for each in note.signatures if (each.name, each.key_id) == (key.name, key.key_id)]


def _write(path: Path, text: str) -> None:
    """In one step, and on the disk before it counts."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def watch(
    witness: Witness,
    every_seconds: float,
    say: Callable[[str], None],
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Look until the log forks; a log that is away is waited for.

    Raises:
        ForkedLogError
    """
    seen = -1
    while True:
        try:
            size = witness.look().head.size
            if size != seen:
                say(f"{witness.log_key.name}: {size} entries seen and cosigned")
            seen = size
        except ForkedLogError:
            raise
        except ClinicalError as error:
            say(f"{error.code}: {error}")
        pause(every_seconds)
