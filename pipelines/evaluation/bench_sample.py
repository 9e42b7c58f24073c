"""The FHIR files that the benches read, and the rate of `fhir.resources` on them that others are held to.

Knows files and the library's R4B classes; measures nothing but that one rate.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from adapters.fhir.release import resource_class
from clinical.errors import RejectedError
from pipelines.samples import synthea_bundles

Resource = tuple[str, bytes]
"""Its type and its bytes."""


class NoBundlesError(RejectedError):
    """The folder holds no Bundle to measure on."""

    code = "evaluation.no_bundles"


class _Typed(msgspec.Struct):
    resourceType: str  # noqa: N815 - FHIR's word


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw(b"")


class _Bundle(msgspec.Struct):
    entry: list[_Entry] = []


def bundles(path: Path | None, limit: int | None = None) -> list[bytes]:
    """The Bundles (.json) below a folder in the order of their paths, or the shipped ones.

    Raises:
        NoBundlesError
    """
    if path is None:
        found = [body for _, body in synthea_bundles()]
    else:
        found = [each.read_bytes() for each in sorted(path.rglob("*.json"))]
    if not found:
        raise NoBundlesError("there is no .json below this folder")
    return found[:limit]


def resources(bodies: Sequence[bytes]) -> list[Resource]:
    """Every resource of the Bundles, cut out but not read."""
    entries = (
        entry.resource for body in bodies for entry in msgspec.json.decode(body, type=_Bundle).entry
    )
    return [
        (msgspec.json.decode(raw, type=_Typed).resourceType, bytes(raw)) for raw in entries if raw
    ]


def validate_each(wanted: Sequence[Resource]) -> None:
    """Validate each resource by itself with `fhir.resources`.

    That is its best case: a Bundle validated whole takes longer than its parts.
    """
    for resource_type, raw in wanted:
        resource_class(resource_type).model_validate_json(raw)


def validate_whole(bodies: Sequence[bytes]) -> None:
    """Validate each Bundle whole with `fhir.resources`."""
    for body in bodies:
        resource_class("Bundle").model_validate_json(body)


def seconds_of(work: Callable[[], None], clock: Callable[[], float]) -> float:
    """How long it takes, by that clock."""
    began = clock()
    work()
    return clock() - began


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this process on a single core for as long as the block runs."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


_IDENTITY = re.compile(rb"[0-9a-f]{8}(?=-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")


def write_copies(bodies: Sequence[bytes], folder: Path, copies: int) -> None:
    """Write the Bundles, and `copies - 1` times more as other patients: every UUID of a copy is new."""
    for copy in range(copies):
        for number, body in enumerate(bodies):
            told = body if not copy else _IDENTITY.sub(lambda m, c=copy: _moved(m[0], c), body)  # type: ignore[misc]
            (folder / f"{copy:02}-{number:04}.json").write_bytes(told)


def _moved(start: bytes, copy: int) -> bytes:
    return b"%08x" % (int(start, 16) ^ (copy * 0x9E3779B1 & 0xFFFFFFFF))
