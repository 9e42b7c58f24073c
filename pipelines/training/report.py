"""What a training run produced, as one value: for the manifest, the model card and the terminal."""

from dataclasses import asdict, dataclass
from typing import Any

from pipelines.training.about import About
from pipelines.training.diagnostics import Gate
from pipelines.training.evaluate import RiskFigures, ValueFigures
from pipelines.training.prognosis import OutcomeFigures
from pipelines.training.recipes import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The figures of one run; `losses` are smoothed, one row per report."""

    name: str
    about: About
    machine: str
    recipe: Recipe
    num_patients: dict[str, int]
    num_events: int
    num_parameters: int
    seconds: dict[str, float]
    losses: list[dict[str, float]]
    values: list[ValueFigures]
    risks: list[RiskFigures]
    outcomes: list[OutcomeFigures]
    gates: list[Gate]

    @property
    def failed_gates(self) -> list[Gate]:
        """The signs of health that are missing."""
        return [gate for gate in self.gates if not gate.is_passed]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
