"""A few labels: k who died and k who survived, drawn many times, for a probe of the frozen state and for trees."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.evaluation.baselines import trees
from pipelines.evaluation.figures import Figure, Floats
from pipelines.evaluation.icu.arms import Arms, doubles
from pipelines.evaluation.icu.comparing import mean_difference, value
from pipelines.evaluation.icu.readouts import probe_logits
from pipelines.evaluation.metrics import auroc

SIZES = (8, 32, 128)
STATES = {8: "last", 32: "last", 128: "with_series"}
"""What the probe is fitted to, by folds of the training set: the more labels, the more columns."""
STRENGTH = 0.01


def draws(died: Floats, size: int, num_draws: int, seed: int = 0) -> list[np.ndarray]:
    """Rows of `size` who died and `size` who did not, or as many as there are."""
    generator = np.random.default_rng([seed, size])
    groups = [np.flatnonzero(died == had) for had in (1.0, 0.0)]
    return [
        np.concatenate([generator.permutation(group)[:size] for group in groups])
        for _ in range(num_draws)
    ]


def probe(features: Floats, died: Floats, asked: Floats, rows: np.ndarray) -> Floats:
    """Log odds from a ridge probe."""
    return probe_logits(features[rows], died[rows], asked, STRENGTH)


def ensemble(features: Floats, died: Floats, asked: Floats, rows: np.ndarray) -> Floats:
    """Log odds from trees, their leaves small enough for so few rows."""
    config = trees.TreeConfig(num_trees=100, min_leaf=max(2, min(20, len(rows) // 8)))
    # Trees cannot bin a column that none of the few rows has a value in.
    is_said = np.isfinite(features[rows]).any(axis=0)
    learned, given = features[rows][:, is_said], asked[:, is_said]
    return trees.risk_logits(learned, died[rows], given, config=config)


@dataclass(frozen=True, slots=True)
class Shots:
    """Log odds by draw, of the probe, of trees, and of a probe of the summaries."""

    size: int
    probes: list[Floats]
    trees: list[Floats]
    plain: list[Floats]

    def difference(self, died: Floats) -> Figure:
        """Mean AUROC of the probes less that of the trees."""
        return mean_difference(auroc, died, self.probes, self.trees)

    def aurocs(self, died: Floats) -> dict[str, float]:
        """Mean AUROC of each."""
        named = {"frozen": self.probes, "trees": self.trees, "ridge on the summaries": self.plain}
        return {
            name: float(np.mean([value(auroc, died, each) for each in logits]))
            for name, logits in named.items()
        }


def shots(arms: Sequence[Arms], size: int, num_draws: int) -> Shots:
    """Every draw of `size`, each with the network of the next seed in turn."""
    parts = arms[0].parts
    name = f"{arms[0].split.name}/few-shot-{size}"
    held = parts.arrays(name, lambda: _shots(arms, size, num_draws))
    return Shots(size, *([*held[key]] for key in ("probes", "trees", "plain")))


def _shots(arms: Sequence[Arms], size: int, num_draws: int) -> dict[str, Floats]:
    died = arms[0].split.died
    found: dict[str, list[Floats]] = {"probes": [], "trees": [], "plain": []}
    for number, rows in enumerate(draws(died, size, num_draws)):
        each = arms[number % len(arms)]
        learned, asked = (doubles(states, STATES[size]) for states in each.states())
        found["probes"].append(probe(learned, died, asked, rows))
        table, given = each.tables
        found["trees"].append(ensemble(table, died, given, rows))
        found["plain"].append(probe(table, died, given, rows))
    return {name: np.stack(logits) for name, logits in found.items()}
