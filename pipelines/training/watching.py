"""The gates of a run while it goes on: told as they are found, kept for the plot.

Knows when to look and what to say. Looks at a copy, so that a run that is watched ends at the same
weights as one that is not.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training.dataset import Case
from pipelines.training.diagnostics import diagnose
from pipelines.training.gates import Gate
from pipelines.training.recipes import Recipe

LOOK_EVERY = 200
_SHOWN = 8
_MISSED, _FINE = "#b3402a", "#1f6f8b"


@dataclass(slots=True)
class GateWatch:
    """Diagnoses the model every so many steps."""

    tensorizer: Tensorizer
    validation: Sequence[Case]
    training: Sequence[Case]
    recipe: Recipe
    say: Callable[[str], None]
    every: int = LOOK_EVERY
    history: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, step: int, model: Jepa) -> None:
        """Look, where it is time: but not after the last step, when the averaged model is judged."""
        if step % self.every or step >= self.recipe.num_steps:
            return
        shown = copy.deepcopy(model.served())
        gates = diagnose(shown, self.tensorizer, self.validation, self.recipe, self.training)
        self.history.append(row(step, gates))
        self.say(in_words(step, gates))


def row(step: int, gates: Sequence[Gate]) -> dict[str, Any]:
    """What was found of each starred sign after a step, and which were missing."""
    starred = [gate for gate in gates if gate.is_starred]
    return {
        "step": step,
        "found": {gate.name: gate.found for gate in starred},
        "missing": [gate.name for gate in starred if gate.is_failed],
    }


def in_words(step: int, gates: Sequence[Gate]) -> str:
    """One line for the terminal."""
    starred = [gate for gate in gates if gate.is_starred]
    missing = [f"{gate.name} {gate.found:.2f}" for gate in starred if gate.is_failed]
    told = f"step {step}: {len(starred) - len(missing)} of {len(starred)} decisive signs healthy"
    return told if not missing else f"{told}; missing: {'; '.join(missing)}"


def plot_gates(figure: Figure, history: Sequence[dict[str, Any]]) -> None:
    """The first starred signs over the steps, red where they were missing."""
    names = list(history[-1]["found"])[:_SHOWN]
    axes = figure.subplots(1, max(1, len(names)), sharex=True, squeeze=False)[0]
    for name, axis in zip(names, axes, strict=False):
        points = [
            (one["step"], one["found"][name], name in one["missing"])
            for one in history
            if one["found"].get(name) is not None
        ]
        axis.plot([x for x, _, _ in points], [y for _, y, _ in points], color="#c9d1d9")
        colours = [_MISSED if is_missing else _FINE for _, _, is_missing in points]
        axis.scatter([x for x, _, _ in points], [y for _, y, _ in points], c=colours, s=12)
        axis.set_title("\n".join(_wrapped(name)), fontsize=6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=6)


def _wrapped(name: str, width: int = 22) -> list[str]:
    lines = [""]
    for word in name.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
