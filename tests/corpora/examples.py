"""The official examples, one after the other."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
CORPORA = ("fhir-r4-examples", "us-core-examples")


def examples(corpus: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file of a corpus."""
    with tarfile.open(FOLDER / f"{corpus}.tar.xz") as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            yield member.name, content.read()


def types_in(body: bytes) -> Iterator[str]:
    """The type of each resource of a file, counted without our readers; those of Bundles to any depth."""
    yield from _types(json.loads(body))


def _types(resource: dict[str, Any]) -> Iterator[str]:
    if resource["resourceType"] != "Bundle":
        yield resource["resourceType"]
        return
    for entry in resource.get("entry", ()):
        if "resource" in entry:
            yield from _types(entry["resource"])
