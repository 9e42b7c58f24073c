"""What is chosen inside the training set, from log odds of stays that a fold held out, and then frozen.

The choice is written down before the outcomes of the test set are opened; what is said of the test set
follows from it alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from pipelines.evaluation.figures import Floats
from pipelines.evaluation.icu.arms import FROZEN, Arms
from pipelines.evaluation.icu.readouts import joining_weights, platt

JOINED = ("trees", "boosted", "finetuned", "frozen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which frozen state is read, how readouts are joined, how log odds become probabilities."""

    frozen: str
    weights: dict[str, float]  # of `JOINED`
    platt: dict[str, tuple[float, float]]  # slope and intercept by readout
    shipped: str
    value_weight: float  # of the network's values, beside those of trees
    aurocs: dict[str, float]  # out of fold
    precisions: dict[str, float]

    def save(self, path: Path) -> None:
        """Write it down."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")

    def calibrated(self, readout: str, logits: Floats) -> Floats:
        """Probabilities."""
        slope, intercept = self.platt[readout]
        chances: Floats = 1 / (1 + np.exp(-(slope * logits + intercept)))
        return chances


def said_by(arms: Sequence[Arms], frozen: str) -> dict[str, Floats]:
    """The log odds of each readout, the mean over seeds."""
    found = {
        "trees": [each.trees() for each in arms],
        "boosted": [each.boosted() for each in arms],
        "finetuned": [each.finetuned()["hours"][:, -1] for each in arms],
        "frozen": [each.frozen()[frozen] for each in arms],
    }
    return {name: np.mean(logits, axis=0) for name, logits in found.items()}


def joined(said: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    """The weighted sum of the readouts' log odds."""
    total: Floats = np.sum([weight * said[name] for name, weight in weights.items()], axis=0)
    return total


def choose(folds: Sequence[Sequence[Arms]], died: Floats, value_weight: float) -> Choice:
    """From the held-out stays of every fold; `died` is of the whole training set, by place."""
    order = np.concatenate([each[0].split.asked_places.numpy() for each in folds])
    had = died[order]
    kinds = {
        kind: np.concatenate(
            [np.mean([arms.frozen()[kind] for arms in each], axis=0) for each in folds]
        )
        for kind in FROZEN
    }
    frozen = max(FROZEN, key=lambda kind: float(roc_auc_score(had, kinds[kind])))
    by_fold = [said_by(each, frozen) for each in folds]
    said = {name: np.concatenate([each[name] for each in by_fold]) for name in JOINED}
    table = np.stack([said[name] for name in JOINED], axis=1)
    stacked, _ = joining_weights(table, had)
    weights = {name: float(w) for name, w in zip(JOINED, stacked, strict=True) if w > 0}
    said["joined"] = joined(said, weights)
    aurocs = {name: float(roc_auc_score(had, logits)) for name, logits in said.items()}
    aurocs |= {
        f"frozen {kind}": float(roc_auc_score(had, logits)) for kind, logits in kinds.items()
    }
    return Choice(
        frozen=frozen,
        weights=weights,
        platt={name: platt(logits, had) for name, logits in said.items()},
        shipped=max(said, key=lambda name: aurocs[name]),
        value_weight=value_weight,
        aurocs=aurocs,
        precisions={name: float(average_precision_score(had, each)) for name, each in said.items()},
    )
