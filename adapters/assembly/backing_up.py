"""Backup and restore of a site: the database, the keys of the data folder, and the model it used.

Knows what a backup folder holds (see the README of this room) and in which order it is trusted:
digests first, then an empty place, then the load in one transaction, then the ledger. A backup
holds patient data and keys: folder and files are closed to everybody but their owner.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from adapters.assembly import keys
from adapters.assembly.database import database_url
from adapters.assembly.embedded import alone_in
from adapters.clock import SystemClock
from adapters.db import dump, migrate
from adapters.db.dump import Stored
from adapters.db.engine import create_engine
from adapters.db.errors import translating
from adapters.db.unit_of_work import unit_of_work_factory
from adapters.settings import Settings
from clinical.audit.tree import TreeHead
from clinical.errors import RejectedError
from clinical.services.audit import AuditService, LogReport

FORMAT = "clinical-backup.v1"
_MANIFEST = "manifest.json"
_DATABASE = "database.dump"
_SECRETS = "secrets"
_CHECKPOINT = "checkpoint"


class NotABackupError(RejectedError):
    """The folder is no backup, or one of another format or of a newer schema than this code knows."""

    code = "backup.not_a_backup"


class DamagedBackupError(RejectedError):
    """A file of the backup is missing, or not the one that was written."""

    code = "backup.damaged"


class PlaceTakenError(RejectedError):
    """There is something already where the backup, or what is in it, was to go."""

    code = "backup.place_taken"


class SiteInUseError(RejectedError):
    """Processes of the site are connected to the database that was to be restored."""

    code = "backup.site_in_use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What was written."""

    stored: Stored
    num_bytes: int
    keys_elsewhere: tuple[str, ...]  # in the settings, so not in the backup


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was restored, and what was found on looking it over."""

    log: LogReport
    head: TreeHead | None  # that of the backup
    is_complete: bool
    unguarded: tuple[str, ...]
    has_ledger_key: bool
    checkpoint: Path | None

    @property
    def is_sound(self) -> bool:
        """Whether every row is there, tables refuse change, and the log is the one that was backed up."""
        is_same_log = self.log.is_sound and (self.head is None or self.log.head == self.head)
        return self.is_complete and is_same_log and not self.unguarded


def back_up(folder: Path, shipped_checkpoint: Path, data_dir: Path | None = None) -> Backup:
    """Write a backup of this site into `folder`; the site may run meanwhile.

    Raises:
        PlaceTakenError, StorageUnavailableError, DumpFailedError
    """
    settings = _settings(data_dir)
    if folder.exists() and any(folder.iterdir()):
        raise PlaceTakenError(f"{folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    log_key = keys.notary(settings).key.to_text()  # made now, if it never was
    with _engine(settings) as (engine, url), dump.dumped(engine, url, folder / _DATABASE) as stored:
        _copy(settings.data_dir / _SECRETS, folder / _SECRETS)
    if settings.model_checkpoint is not None:
        _copy(settings.model_checkpoint, folder / _CHECKPOINT)
    checkpoint = settings.model_checkpoint or shipped_checkpoint
    manifest = {
        "format": FORMAT,
        "made_at": SystemClock().now().isoformat(),
        "revision": stored.revision,
        "head": None if stored.head is None else [stored.head.size, stored.head.root.hex()],
        "rows": stored.counts,
        "triggers": stored.triggers,
        "ledger_key": log_key,
        "model": {
            "manifest_digest": _digest(checkpoint / _MANIFEST),
            "is_shipped": settings.model_checkpoint is None,
        },
        "files": {str(path.relative_to(folder)): _digest(path) for path in _files(folder)},
    }
    for path in _files(folder):
        path.chmod(0o600)
    content = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    # Last: a folder without it is no backup.
    (folder / _MANIFEST).touch(mode=0o600)
    (folder / _MANIFEST).write_text(content, "utf-8")
    return Backup(
        stored=stored,
        num_bytes=sum(path.stat().st_size for path in _files(folder)),
        keys_elsewhere=_keys_elsewhere(settings),
    )


def restore(
    folder: Path,
    say: Callable[[str], None],
    *,
    overwrite: bool = False,
    data_dir: Path | None = None,
) -> Restored:
    """Make this site what the backup says, and look it over.

    Raises:
        NotABackupError, DamagedBackupError: nothing was touched.
        PlaceTakenError: the database or the keys are not empty, and may not be overwritten.
        AlreadyRunningError, SiteInUseError, StorageUnavailableError, DumpFailedError
    """
    settings = _settings(data_dir)
    manifest = _trusted(folder)
    say("every file is the one that was written")
    with ExitStack() as stack:
        stack.enter_context(alone_in(settings.data_dir))
        engine, url = stack.enter_context(_engine(settings))
        with translating(), engine.connect() as connection:
            _require_room(
                dump.num_others(connection), is_empty=dump.is_empty(connection), overwrite=overwrite
            )
            empty_first = dump.has_tables(connection) or not dump.is_empty(connection)
        engine.dispose()  # what it knows of types goes with the schema
        _restore_files(folder, settings.data_dir, overwrite=overwrite)
        dump.load(url, folder / _DATABASE, empty_first=empty_first)
        say("database and keys are restored")
        with translating(), engine.connect() as connection:
            held = dump.stored(connection)
        if held.revision != migrate.newest():
            migrate.upgrade(url)
        with translating(), engine.connect() as connection:
            unguarded = tuple(dump.unguarded(connection))
        log = AuditService(open_unit_of_work=unit_of_work_factory(engine), clock=SystemClock())
        head = manifest["head"]
        return Restored(
            log=log.verify(),
            head=None if head is None else TreeHead(head[0], bytes.fromhex(head[1])),
            is_complete=(manifest["rows"], manifest["triggers"]) == (held.counts, held.triggers),
            unguarded=unguarded,
            has_ledger_key=keys.notary(settings).key.to_text() == manifest["ledger_key"],
            checkpoint=_restored_checkpoint(folder, settings.data_dir),
        )


def _settings(data_dir: Path | None) -> Settings:
    settings = Settings()
    return settings if data_dir is None else settings.model_copy(update={"data_dir": data_dir})


@contextmanager
def _engine(settings: Settings) -> Iterator[tuple[Engine, str]]:
    with database_url(settings) as url:
        engine = create_engine(url, pool_size=2)
        try:
            yield engine, url
        finally:
            engine.dispose()


def _trusted(folder: Path) -> dict[str, Any]:
    """The manifest, once every file in it is found to be the one that was written."""
    try:
        manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_text("utf-8"))
        files = manifest["files"]
        is_ours = manifest["format"] == FORMAT and _DATABASE in files
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotABackupError(f"{folder} holds no manifest of a backup") from error
    if not is_ours or not migrate.is_known(manifest["revision"]):
        raise NotABackupError(f"{folder} is of another format, or of a newer version of the code")
    for name, digest in files.items():
        path = folder / name
        if ".." in Path(name).parts or not path.is_file() or _digest(path) != digest:
            raise DamagedBackupError(f"{name} is missing, or not the file that was written")
    return manifest


def _require_room(num_others: int, *, is_empty: bool, overwrite: bool) -> None:
    if num_others:
        raise SiteInUseError("processes of the site are connected to the database: stop them first")
    if not is_empty and not overwrite:
        raise PlaceTakenError("the database is not empty; --overwrite replaces what is in it")


def _restore_files(folder: Path, data_dir: Path, *, overwrite: bool) -> None:
    """Keys and checkpoint to their places; all are looked at before any is written."""
    pairs = [
        (source, data_dir / source.relative_to(folder))
        for part in (_SECRETS, _CHECKPOINT)
        for source in _files(folder / part)
    ]
    taken = [
        target for source, target in pairs if target.exists() and _digest(target) != _digest(source)
    ]
    if taken and not overwrite:
        raise PlaceTakenError(f"{taken[0]} is another; --overwrite replaces it")
    for source, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.unlink(missing_ok=True)
        target.touch(mode=0o600)
        shutil.copyfile(source, target)


def _restored_checkpoint(folder: Path, data_dir: Path) -> Path | None:
    return (data_dir / _CHECKPOINT).absolute() if (folder / _CHECKPOINT).exists() else None


def _keys_elsewhere(settings: Settings) -> tuple[str, ...]:
    names = ("session_key", "ledger_key", "webhook_secrets", "nabla_connect_secrets")
    return tuple(f"CLINICAL_{name.upper()}" for name in names if getattr(settings, name))


def _copy(source: Path, target: Path) -> None:
    if source.exists():
        shutil.copytree(source, target)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
