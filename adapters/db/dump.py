"""A whole database into one file and back, with PostgreSQL's own programs from the wheel.

Knows pg_dump, pg_restore and psql, and what a restored database must have. The file is of pg_dump's
custom format, made from one snapshot; it is loaded in one transaction, so that a restore that fails
changes nothing. Does not know keys, checkpoints or the folder around it.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, make_url, text

from adapters.db.errors import translating
from adapters.db.migrate import revision_of
from adapters.db.server_account import programs
from adapters.db.tables import metadata
from clinical.audit.tree import TreeHead
from clinical.errors import ClinicalError

# Of processes, not of what happened: it means nothing elsewhere.
_FLEETING = frozenset({"worker_heartbeats"})
# Each has a trigger of the name `append_only`, made by the migrations.
_APPEND_ONLY = frozenset(
    {
        "audit_entries",
        "audit_leaves",
        "audit_nodes",
        "audit_heads",
        "audit_signatures",
        "decisions",
    }
)
_EMPTIED = b"DROP SCHEMA public CASCADE; CREATE SCHEMA public;\n"
# Servers before PostgreSQL 17 do not know it; pg_restore writes it for all of them.
_UNKNOWN_TO_OLDER = b"SET transaction_timeout = 0;\n"
_GUARDED = text(
    """
    SELECT relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
    WHERE tgname = 'append_only' AND tgenabled IN ('O', 'A')
    """
)
_TRIGGERS = text(
    """
    SELECT concat_ws(' ', relname, tgname, tgenabled) FROM pg_trigger
    JOIN pg_class ON pg_class.oid = tgrelid WHERE NOT tgisinternal ORDER BY 1
    """
)
_OTHERS = text(
    """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND pid <> pg_backend_pid() AND application_name LIKE 'clinical%'
    """
)
_NEWEST_HEAD = text("SELECT size, root FROM audit_heads ORDER BY size DESC LIMIT 1")


class DumpFailedError(ClinicalError):
    """A program of PostgreSQL failed; the message holds its last words."""

    code = "backup.program_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a database holds: its schema's revision, the newest head of its log, rows by table, and guards."""

    revision: str | None
    head: TreeHead | None
    counts: dict[str, int]
    triggers: list[str]  # table, name, and whether it is enabled


@contextmanager
def dumped(engine: Engine, url: str, path: Path) -> Iterator[Stored]:
    """Write the database into `path`; what is in it, read in the very snapshot that was written.

    Raises:
        StorageUnavailableError, DumpFailedError
    """
    with translating(), engine.connect() as connection:
        connection.execution_options(isolation_level="REPEATABLE READ")
        snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
        options = ["--format=custom", f"--snapshot={snapshot}", f"--file={path}"]
        options += ["--no-owner", "--no-privileges", "--no-comments"]
        options += [f"--exclude-table-data=public.{table}" for table in sorted(_FLEETING)]
        program = [str(programs() / "pg_dump"), *options, f"--dbname={_without_password(url)}"]
        done = subprocess.run(program, env=_environment(url), capture_output=True, check=False)  # noqa: S603
        _require_success("pg_dump", done.returncode, done.stderr)
        yield stored(connection)


def load(url: str, path: Path, *, empty_first: bool) -> None:
    """Make the database what `path` says, in one transaction.

    Raises:
        DumpFailedError: nothing was changed.
    """
    options = ["--no-owner", "--no-privileges", "--no-comments", "--file=-"]
    with subprocess.Popen(  # noqa: S603
        [str(programs() / "pg_restore"), *options, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as reading:
        _replay(url, reading, empty_first=empty_first)


def _replay(url: str, reading: "subprocess.Popen[bytes]", *, empty_first: bool) -> None:
    program = [str(programs() / "psql"), "--no-psqlrc", "--quiet", "--single-transaction"]
    program += ["--set=ON_ERROR_STOP=1", "--file=-", f"--dbname={_without_password(url)}"]
    with subprocess.Popen(  # noqa: S603
        program,
        env=_environment(url),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as writing:
        assert reading.stdout is not None
        assert reading.stderr is not None
        assert writing.stdin is not None
        assert writing.stderr is not None
        try:
            writing.stdin.write(_EMPTIED if empty_first else b"")
            is_data = False
            for line in reading.stdout:
                is_data = is_data or line.startswith(b"COPY ")
                if is_data or line != _UNKNOWN_TO_OLDER:
                    writing.stdin.write(line)
            said = reading.stderr.read()
            if reading.wait() != 0:  # half a script must not be committed
                writing.kill()
            writing.stdin.close()
        except BrokenPipeError:  # psql has stopped, and says why
            reading.kill()
            said = b""
        words = writing.stderr.read()
        _require_success("pg_restore and psql", writing.wait(), said + words)


def stored(connection: Connection) -> Stored:
    """What the database holds, as that connection sees it."""
    head = connection.execute(_NEWEST_HEAD).one_or_none()
    return Stored(
        revision=revision_of(connection),
        head=None if head is None else TreeHead(head.size, head.root),
        counts={
            table: int(connection.scalar(text(f'SELECT count(*) FROM "{table}"')) or 0)  # noqa: S608
            for table in sorted(set(metadata.tables) - _FLEETING)
        },
        triggers=list(connection.execute(_TRIGGERS).scalars()),
    )


def is_empty(connection: Connection) -> bool:
    """Whether nothing was ever made there: no table at all, or none of ours with a row in it."""
    found = text(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    tables = set(connection.execute(found).scalars()) - _FLEETING - {"alembic_version"}
    return not any(
        connection.scalar(text(f'SELECT EXISTS (SELECT FROM "{table}")'))  # noqa: S608
        for table in tables
    )


def has_tables(connection: Connection) -> bool:
    """Whether a schema, though perhaps without rows, is there already."""
    return revision_of(connection) is not None


def num_others(connection: Connection) -> int:
    """How many connections of processes of ours there are besides this one."""
    return int(connection.scalar(_OTHERS) or 0)


def unguarded(connection: Connection) -> list[str]:
    """The tables that should refuse change and do not."""
    guarded = set(connection.execute(_GUARDED).scalars())
    return sorted(_APPEND_ONLY - guarded)


def _require_success(program: str, status: int, said: bytes) -> None:
    if status != 0:
        # The programs quote values of rows in DETAIL and CONTEXT: only their first errors are told.
        lines = [
            line
            for line in said.decode(errors="replace").splitlines()
            if "error" in line.lower() and "DETAIL" not in line
        ]
        raise DumpFailedError(f"{program} failed: {'; '.join(lines[:2]) or f'status {status}'}")


def _without_password(url: str) -> str:
    parsed = make_url(url)
    plain = URL.create(
        "postgresql",
        username=parsed.username,
        host=parsed.host,
        port=parsed.port,
        database=parsed.database,
        query=parsed.query,
    )
    return plain.render_as_string(hide_password=False)


def _environment(url: str) -> dict[str, str]:
    """The password travels here: the arguments of a program can be read by everybody."""
    password = make_url(url).password
    settings = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGOPTIONS": "-c timezone=UTC"}
    return settings | ({"PGPASSWORD": str(password)} if password else {})
