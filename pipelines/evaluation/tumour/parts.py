"""The parts of the table, each computed once and kept: a run that was cut off goes on where it was.

A part is a file of arrays in a folder; its name says what it is of, and a digest of the choices behind
it, so that another recipe or another size never reads what these made.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.tumour.scores import Errors

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Parts:
    """The folder, and what every part in it depends on besides its own name."""

    folder: Path
    choices: str

    def get(self, name: str, compute: Callable[[], Arrays], *, also: str = "") -> Arrays:
        """The arrays of this part, computed where there is no file; `also` are choices of its own."""
        path = self.path(name, also=also)
        if not path.exists():
            made = compute()
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.savez(file, **made)  # type: ignore[arg-type]
            partial.replace(path)
        with np.load(path) as held:
            return {key: held[key] for key in held.files}

    def path(self, name: str, *, also: str = "", suffix: str = ".npz") -> Path:
        """Where this part lies, or would."""
        digest = hashlib.sha256(f"{self.choices}|{also}".encode()).hexdigest()[:10]
        return self.folder / f"{name}-{digest}{suffix}"


def packed(errors: Mapping[str, Errors]) -> Arrays:
    """Errors as arrays."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, each in errors.items():
        arrays[f"{name}/squared"], arrays[f"{name}/count"] = each.squared, each.count
    return arrays


def unpacked(arrays: Arrays) -> dict[str, Errors]:
    """The errors that `packed` made arrays of."""
    names = sorted({key.rpartition("/")[0] for key in arrays})
    return {
        name: Errors(
            arrays[f"{name}/squared"].astype(np.float64), arrays[f"{name}/count"].astype(np.float64)
        )
        for name in names
    }
