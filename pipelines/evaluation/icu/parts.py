"""Finished parts of a long table, kept on disk: what was computed is not computed again.

A part's name says all that it depends on beside the folder; a folder belongs to one set of sizes and
one version of the data.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from clinical.worldmodel.jepa import Jepa
from pipelines.evaluation.figures import Floats

_ABOUT = "about.txt"


@dataclass(frozen=True)
class Parts:
    """The kept parts in `folder`; `say` tells which one is being computed."""

    folder: Path
    say: Callable[[str], None]

    def has(self, name: str) -> bool:
        """Whether these named arrays were computed."""
        return (self.folder / f"{name}.npz").exists()

    @property
    def about(self) -> str:
        """On what the networks learned: a sentence for each device."""
        path = self.folder / _ABOUT
        return path.read_text("utf-8").replace("\n", " ") if path.exists() else ""

    def learned_on(self, device: str) -> None:
        """Remember on what a network learned."""
        name = device if device == "cpu" else torch.cuda.get_device_name(device)
        line = f"Networks learned on {name}, torch {torch.__version__}."
        path = self.folder / _ABOUT
        known = path.read_text("utf-8").splitlines() if path.exists() else []
        if line not in known:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{each}\n" for each in (*known, line)), "utf-8")

    def arrays(self, name: str, compute: Callable[[], Mapping[str, Floats]]) -> dict[str, Floats]:
        """Named arrays."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            self.say(name)
            found = compute()
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, **dict(found))  # type: ignore[arg-type]
            partial.replace(path)
        with np.load(path) as held:
            return {key: held[key] for key in held.files}

    def model(self, name: str, empty: Jepa, compute: Callable[[Path], Jepa]) -> Jepa:
        """A network: its weights are loaded into `empty`. `compute` may keep its state in a file."""
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            self.say(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            state = path.with_suffix(".state")
            weights = {k: v.contiguous() for k, v in compute(state).state_dict().items()}
            partial = path.with_suffix(".partial")
            save_file(weights, partial)
            partial.replace(path)
            state.unlink(missing_ok=True)
        empty.load_state_dict(load_file(path))
        return empty.eval()
