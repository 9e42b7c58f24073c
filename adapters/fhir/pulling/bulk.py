"""The client's side of a bulk export (Bulk Data Access 2.0 and 3.0): kick-off, status, files, end.

Knows what an EHR may answer at each step, and believes nothing of it unseen. Does not wait, and
stores nothing: who asks decides when to ask again.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from itertools import chain
from typing import Any
from urllib.parse import urlencode, urljoin

import msgspec
from msgspec import Struct

from adapters.egress.errors import PeerRefusedError, UnreadableAnswerError
from adapters.egress.peer import Answer, Peer, retry_after
from adapters.fhir.body import expanded
from adapters.fhir.files import Chunk, chunks
from adapters.fhir.pulling.errors import ExpiredExportError
from clinical.services.ports import Clock, FileKind

_ACCEPT = {"Accept": "application/fhir+json"}
_KICK_OFF = {**_ACCEPT, "Prefer": "respond-async"}
_FILE = {"Accept": "application/fhir+ndjson"}
_ACCEPTED = 202
_GONE = frozenset({404, 410})
_BLOCK = 256 * 1024
_GZIP = b"\x1f\x8b"
_LONGEST_PROGRESS = 100


class Level(StrEnum):
    """Of whom an export is."""

    SYSTEM = "system"
    PATIENT = "patient"
    GROUP = "group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What an export is of. `group` is the id of a Group, for that level only."""

    level: Level = Level.PATIENT
    group: str = ""
    types: tuple[str, ...] = ()
    type_filters: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where it is kicked off, below the base."""
        return {
            Level.SYSTEM: "$export",
            Level.PATIENT: "Patient/$export",
            Level.GROUP: f"Group/{self.group}/$export",
        }[self.level]

    @property
    def params(self) -> dict[str, str]:
        """What is asked for, in one order."""
        stated = {"_type": sorted(set(self.types)), "_typeFilter": sorted(set(self.type_filters))}
        return {name: ",".join(values) for name, values in stated.items() if values}

    @property
    def key(self) -> str:
        """The same for the same question; `_since` is no part of it."""
        return "?".join(filter(None, [self.path, urlencode(self.params)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Not ready. `after` is how long the EHR said to wait, None where it did not; `progress` its words."""

    after: timedelta | None
    progress: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One file, as the manifest names it."""

    kind: FileKind
    record_type: str
    url: str
    count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Ready: one page of the manifest. `next_url` empty: it is the last."""

    transaction_time: str
    needs_token: bool
    files: tuple[Listed, ...]
    next_url: str
    expires_at: datetime | None


class _File(Struct):
    url: str
    type: str = ""
    count: int | None = None


class _Link(Struct):
    relation: str = ""
    url: str = ""


class _Manifest(Struct):
    transactionTime: str  # noqa: N815 - FHIR's spelling
    output: list[_File]
    requiresAccessToken: bool = False  # noqa: N815
    deleted: list[_File] = []
    error: list[_File] = []
    link: list[_Link] = []


class BulkClient:
    """Asks one EHR; each method is one exchange. All of them raise as `Peer.ask` does."""

    def __init__(self, peer: Peer, files: Peer, open_files: Peer, clock: Clock) -> None:
        """`files` and `open_files` have room for files; the second proves nothing of who we are."""
        self._peer = peer
        self._files = files
        self._open_files = open_files
        self._clock = clock

    def kick_off(self, scope: Scope, *, since: str, output_format: str) -> str:
        """Begin; the address at which to ask how far it is.

        Raises:
            UnreadableAnswerError: the EHR does not say where.
            ForeignAddressError: it is on no host that the site registered.
        """
        params = scope.params
        if since:
            params["_since"] = since
        if output_format:
            params["_outputFormat"] = output_format
        answer = self._peer.ask("GET", scope.path, headers=_KICK_OFF, params=params)
        where = answer.headers.get("content-location", "")
        if answer.status != _ACCEPTED or not where:
            raise UnreadableAnswerError("the EHR did not begin an export, or does not say where")
        return self._peer.address_of(self._whole(where))

    def status(self, url: str) -> Waiting | Manifest:
        """How far it is.

        Raises:
            ExpiredExportError: the EHR does not know the job any more.
            UnreadableAnswerError: neither a manifest nor an answer that says to wait.
        """
        try:
            answer = self._peer.ask("GET", url, headers=_ACCEPT)
        except PeerRefusedError as error:
            if error.status in _GONE:
                raise ExpiredExportError("the EHR does not know the export any more") from error
            raise
        if answer.status == _ACCEPTED:
            said = retry_after(answer.headers.get("retry-after", ""), self._clock)
            return Waiting(after=said, progress=_printable(answer.headers.get("x-progress", "")))
        return self._manifest(answer)

    @contextmanager
    def lines(self, url: str, *, needs_token: bool) -> Iterator[Iterator[Chunk]]:
        """A file as chunks of whole lines, cut at the same places whenever its bytes are the same.

        Raises:
            ExpiredExportError: the file is gone.
            ForeignAddressError: it is on no host that the site registered; nothing was sent.
        """
        peer = self._files if needs_token else self._open_files
        try:
            with peer.streamed("GET", url, headers=_FILE) as streamed:
                yield chunks(_plain(_reblocked(streamed.chunks)))
        except PeerRefusedError as error:
            if error.status in _GONE:
                raise ExpiredExportError("the EHR has thrown the file away") from error
            raise

    def end(self, url: str) -> bool:
        """Tell the EHR that its files may go; False where it does not take that from anybody."""
        try:
            self._peer.ask("DELETE", url, headers=_ACCEPT)
        except PeerRefusedError:
            return False
        return True

    def _manifest(self, answer: Answer) -> Manifest:
        try:
            told = msgspec.convert(answer.document(), _Manifest)
            _require_instant(told.transactionTime)
        except (msgspec.ValidationError, ValueError) as error:
            raise UnreadableAnswerError("the answer is no manifest of an export") from error
        kinds = {
            FileKind.OUTPUT: told.output,
            FileKind.DELETED: told.deleted,
            FileKind.ERROR: told.error,
        }
        return Manifest(
            transaction_time=told.transactionTime,
            needs_token=told.requiresAccessToken,
            files=tuple(
                Listed(
                    kind=kind, record_type=each.type, url=self._whole(each.url), count=each.count
                )
                for kind, files in kinds.items()
                for each in files
            ),
            next_url=self._whole(_next(told.link)),
            expires_at=_moment(answer.headers),
        )

    def _whole(self, url: str) -> str:
        return urljoin(f"{self._peer.base_url}/", url) if url else ""


def _next(links: list[_Link]) -> str:
    return next((link.url for link in links if link.relation == "next"), "")


def _require_instant(text: str) -> None:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("an instant has a zone")


def _moment(headers: Mapping[str, Any]) -> datetime | None:
    try:
        until = parsedate_to_datetime(headers.get("expires", ""))
    except (ValueError, TypeError):
        return None
    return until if until.tzinfo is not None else None


def _printable(text: str) -> str:
    return "".join(each for each in text if each.isprintable())[:_LONGEST_PROGRESS]


def _reblocked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """In blocks of one size, so that what is made of them does not depend on how the network cut."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= _BLOCK:
            yield bytes(held[:_BLOCK])
            del held[:_BLOCK]
    if held:
        yield bytes(held)


def _plain(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompressed where the file itself is gzip; HTTP's own encoding is gone by here."""
    first = next(blocks, b"")
    whole = chain([first], blocks)
    return expanded(whole) if first.startswith(_GZIP) else whole
