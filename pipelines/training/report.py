"""What a training run produced, as one value: for the manifest, the model card and the terminal."""

from dataclasses import asdict, dataclass
from typing import Any

from pipelines.training.about import About
from pipelines.training.evaluate import RiskFigures, ValueFigures
from pipelines.training.gates import Gate
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
    gate_history: list[dict[str, Any]]  # of the starred ones, every so many steps

    @property
    def failed_gates(self) -> list[Gate]:
        """The signs of health that are missing."""
        return [gate for gate in self.gates if gate.is_failed]

    @property
    def is_healthy(self) -> bool:
        """Whether no decisive sign of health is missing."""
        return not any(gate.is_starred for gate in self.failed_gates)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "is_healthy": self.is_healthy}
