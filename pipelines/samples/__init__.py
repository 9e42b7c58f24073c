"""Sample patients shipped with the project, and which of them the shipped model has never seen."""

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
_NUM_TRAINING = 120


def synthea_bundles() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each Synthea Bundle, one patient each, in the order of the archive."""
    return _members(FOLDER / "synthea.tar.xz")


def icu_bundles() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each stay in intensive care, one Bundle each; see `icu/README.md`."""
    return _members(FOLDER / "icu" / "stays.tar.xz")


def training_bundles() -> Iterator[tuple[str, bytes]]:
    """The Bundles that the shipped model is trained and calibrated on."""
    return _select(is_training=True)


def demo_bundles() -> Iterator[tuple[str, bytes]]:
    """The Bundles that the demo shows; no shipped model was trained on them."""
    return _select(is_training=False)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, mode="r:xz") as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                yield member.name, content.read()


def _select(*, is_training: bool) -> Iterator[tuple[str, bytes]]:
    bundles = list(synthea_bundles())
    ranked = sorted((name for name, _ in bundles), key=_rank)
    chosen = set(ranked[:_NUM_TRAINING]) if is_training else set(ranked[_NUM_TRAINING:])
    return iter([bundle for bundle in bundles if bundle[0] in chosen])


def _rank(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
