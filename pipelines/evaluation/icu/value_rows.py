"""The rows about values: skill over persistence, against trees for each series and window."""

from dataclasses import replace

import numpy as np

from adapters.clock import SystemClock
from clinical.worldmodel.config import QUANTILES
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured
from pipelines.evaluation.figures import Figure, Floats, Sampling, Statistic, estimate
from pipelines.evaluation.icu.arms import Sizes
from pipelines.evaluation.icu.choice import Choice
from pipelines.evaluation.icu.values import FOLLOWED, Course, crps, skills

COMMAND = "clinical bench icu --data FOLDER"
TREES_SKILL = 0.145
"""What boosted trees reached in the design's probe: the goal."""


def rows(asked: Course, medians: Floats, choice: Choice, sizes: Sizes) -> list[BenchmarkRow]:
    """Skill of the network, joined with trees, their differences, and the skill of its bands."""
    median = asked.quantiles[..., len(QUANTILES) // 2]
    share = choice.value_weight
    both = share * median + (1 - share) * medians
    said = {"network": median, "trees": medians, "joined": both}
    found = {name: _estimated(asked, _skill(asked, each)) for name, each in said.items()}
    what = (
        f"Mean over {', '.join(FOLLOWED)} of 1 less the mean absolute error over that of the last value: each "
        "series' first value in each 6 h window of the second day, given the first. Trees: one ensemble "
        "for each series and window on the summaries of the first day, of the change since the last value."
    )
    beside = {name: figure.value or 0.0 for name, figure in found.items()}
    row = _Rows(sizes)
    return [
        row.of("p12.values.skill", found["network"], beside, what, goal=TREES_SKILL),
        row.of(
            "p12.values.skill_joined",
            found["joined"],
            beside,
            f"{what} Share of the network, chosen on a held-out fold: {share:.1f}.",
            goal=TREES_SKILL,
        ),
        row.of(
            "p12.values.delta",
            _estimated(asked, _gap(asked, median, medians)),
            beside,
            f"Skill of the network less that of trees, paired. {what}",
            goal=0.0,
        ),
        row.of(
            "p12.values.crps_skill",
            _estimated(asked, _crps_skill(asked)),
            {},
            "The same, in CRPS (by five quantiles of the network) over that of the last value, "
            "whose CRPS is its absolute error.",
        ),
    ]


class _Rows:
    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes

    def of(
        self,
        id_: str,
        figure: Figure,
        beside: dict[str, float],
        note: str,
        goal: float | None = None,
    ) -> BenchmarkRow:
        assert figure.value is not None
        assert figure.low is not None
        assert figure.high is not None
        return measured(
            clock=SystemClock(),
            id=id_,
            value=figure.value,
            interval=(figure.low, figure.high),
            unit="skill",
            better=Better.HIGHER,
            goal=goal,
            baselines=beside,
            n=figure.n,
            seeds=self._sizes.seeds,
            command=COMMAND,
            note=note,
        )


def _skill(asked: Course, said: Floats) -> Statistic:
    def statistic(weights: Floats) -> Floats:
        found, is_measured = skills(asked, said, weights)
        mean: Floats = found[:, is_measured].mean(axis=1)
        return mean

    return statistic


def _gap(asked: Course, said: Floats, other: Floats) -> Statistic:
    ours, theirs = _skill(asked, said), _skill(asked, other)
    return lambda weights: ours(weights) - theirs(weights)


def _crps_skill(asked: Course) -> Statistic:
    """The band's score stands for the error: as if the truth were missed by that much."""
    score = crps(asked.quantiles, asked.truth)
    return _skill(replace(asked), asked.truth + score)


def _estimated(asked: Course, statistic: Statistic) -> Figure:
    return estimate(statistic, Sampling(patients=np.arange(len(asked.truth))))
