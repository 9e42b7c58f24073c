"""Writes the extract that ships in `pipelines/samples/icu`; the same table gives the same bytes."""

import io
import json
import lzma
import tarfile
from dataclasses import dataclass
from pathlib import Path

from pipelines.icu.fhir_bundles import Written, bundle
from pipelines.icu.mimic import choose, read_stays

ARCHIVE, COUNTS = "stays.tar.xz", "counts.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """How many stays were written, and what became of their rows."""

    num_stays: int
    num_died: int
    written: Written


def extract(parquet: Path, folder: Path) -> Extract:
    """Write the chosen stays, one Bundle a stay, and the counts of what was kept and left out.

    Raises:
        NotMimicError
    """
    written = Written()
    stays = choose(read_stays(parquet))
    bundles = [(f"{stay.subject}.json", bundle(stay, written)) for stay in stays]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ARCHIVE).write_bytes(_archived(bundles))
    num_died = sum(stay.has_died for stay in stays)
    counts = {
        "stays": len(stays),
        "died in hospital": num_died,
        "kept": dict(written.kept.most_common()),
        "left out": dict(written.left_out.most_common()),
    }
    text = json.dumps(counts, indent=2, ensure_ascii=False)
    (folder / COUNTS).write_text(f"{text}\n", "utf-8")
    return Extract(num_stays=len(stays), num_died=num_died, written=written)


def _archived(bundles: list[tuple[str, bytes]]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in bundles:
            member = tarfile.TarInfo(name)  # no times, owners or modes of this machine
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return lzma.compress(plain.getvalue(), preset=9 | lzma.PRESET_EXTREME)
