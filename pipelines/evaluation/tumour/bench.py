"""`clinical bench tumour`: the table of counterfactual forecasts, resumable, and its rows.

Knows which parts make a row and what the note must say. Does not know how anything is computed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from adapters.clock import SystemClock
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, load, measured
from pipelines.evaluation.tumour import published
from pipelines.evaluation.tumour.counterfactuals import (
    FIRST_OF_SLIDING,
    LONGEST,
    Generator,
    Question,
)
from pipelines.evaluation.tumour.experiment import (
    ARMS,
    LATE,
    TREES,
    TREES_AS_PUBLISHED,
    Experiment,
    Size,
)
from pipelines.evaluation.tumour.parts import Parts
from pipelines.evaluation.tumour.picture import picture
from pipelines.evaluation.tumour.scores import Errors, Estimate, estimates

COMMAND = "clinical bench tumour"
UNIT = "% of 1,150 cm³"
OURS, WITHOUT = ARMS
FOLDER = Path("var/bench/tumour")
TAUS = (1, *range(FIRST_OF_SLIDING, LONGEST + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to measure, and how much of it."""

    gammas: tuple[float, ...]
    seeds: tuple[int, ...]
    size: Size
    folder: Path = FOLDER
    only_kept: bool = False
    """Whether to make the table of what earlier runs finished, computing nothing."""


def choice(
    gammas: str, seeds: str, *, num_steps: int, folder: Path = FOLDER, only_kept: bool = False
) -> Choice:
    """What the words of the command line choose: numbers with commas between them."""
    return Choice(
        gammas=tuple(float(gamma) for gamma in gammas.split(",")),
        seeds=tuple(int(seed) for seed in seeds.split(",")),
        size=Size(num_steps=num_steps),
        folder=folder,
        only_kept=only_kept,
    )


@dataclass(slots=True)
class Found:
    """Errors by key of all seeds of one gamma, and the plans; a seed is there when all of it is."""

    seeds: tuple[int, ...]
    errors: dict[str, list[Errors]]
    plans: dict[str, list[Mapping[str, np.ndarray]]]


def run(choice: Choice, *, say: Callable[[str], None]) -> list[BenchmarkRow]:
    """Measure, gamma after gamma and seed after seed; a part that was finished is not measured again."""
    # The length of training is a choice of the recipe: what is not trained does not depend on it.
    shared = {k: v for k, v in asdict(choice.size).items() if k != "num_steps"}
    parts = Parts(choice.folder, repr(shared))
    found = {gamma: _found(choice, gamma, parts, say) for gamma in choice.gammas}
    return [
        row for gamma, each in found.items() if each.seeds for row in _rows(choice, gamma, each)
    ]


def draw(path: Path) -> None:
    """Draw the recorded table."""
    if drawn := picture(load()):
        path.write_text(drawn, "utf-8")


def _found(choice: Choice, gamma: float, parts: Parts, say: Callable[[str], None]) -> Found:
    found = Found((), {}, {})
    for seed in choice.seeds:
        experiment = Experiment(gamma, seed, choice.size, parts, say)
        if choice.only_kept and not experiment.is_kept():
            continue
        errors = experiment.cheap() | experiment.trees()
        for arm in ARMS:
            errors |= experiment.arm(arm)
            found.plans.setdefault(arm, []).append(experiment.plans(arm))
        for key, each in errors.items():
            found.errors.setdefault(key, []).append(each)
        found.seeds = (*found.seeds, seed)
    return found


def _rows(choice: Choice, gamma: float, found: Found) -> list[BenchmarkRow]:
    rows = []
    for tau in TAUS:
        rows += [_error_row(choice, gamma, found, kind, tau) for kind in Generator]
        rows.append(_latent_row(choice, gamma, found, tau))
    return [*rows, *_plan_rows(choice, gamma, found)]


def compared(found: Found, kind: Generator, tau: int, *, late: bool) -> dict[str, Estimate]:
    """All methods on one test, and their paired differences."""
    question = Question.ONE_STEP if tau == 1 else Question.SLIDING
    ending = f"|{kind}|{question}" + (f"|{LATE}" if late else "")
    by_method = {
        key.removesuffix(ending): each for key, each in found.errors.items() if key.endswith(ending)
    }
    return estimates(by_method, tau - 1)


def _is_late(kind: Generator, tau: int) -> bool:
    """Whether the headline leaves out day 0: so the corrected sliding table was first measured."""
    return kind is Generator.CORRECTED and tau > 1


def _error_row(
    choice: Choice, gamma: float, found: Found, kind: Generator, tau: int
) -> BenchmarkRow:
    late = _is_late(kind, tau)
    methods = compared(found, kind, tau, late=late)
    other = compared(found, kind, tau, late=not late)
    ours, trees, gap = methods[OURS], methods[TREES], methods[f"{OURS} - {TREES}"]
    name = "one_step" if tau == 1 else f"tau{tau}"
    either = [methods[TREES].value, methods[TREES_AS_PUBLISHED].value]
    goal = published.goal_of(kind, tau, gamma, float(np.nanmin(either)))
    days = "from day 1 on" if late else "all days"
    other_days = "all days" if late else "from day 1 on"
    note = (
        f"{_what(tau)}, gamma {gamma:g}, {kind} test generator, {days}. Against trees paired over "
        f"seeds and patients {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] "
        f"({100 * gap.value / trees.value:+.1f} %)"
        f"{_against_published_trees(methods)}. {other_days.capitalize()}: ours "
        f"{other[OURS].value:.3f}, trees {other[TREES].value:.3f}, filter {other['filter'].value:.3f}. "
        f"By seed: {', '.join(f'{value:.3f}' for value in ours.by_seed)}. "
        f"{published.context_of(tau, gamma) if kind is Generator.REFERENCE else ''}"
        f"{published.TRIED if goal is not None and ours.value > goal else ''}"
        f"{_size(choice, found)}"
    )
    return _row(
        found,
        id=f"tumour.{kind}.{name}.g{gamma:g}",
        estimate=ours,
        goal=goal,
        baselines={
            name: each.value
            for name, each in methods.items()
            if " - " not in name and name != OURS and np.isfinite(each.value)
        },
        note=note,
    )


def _against_published_trees(methods: Mapping[str, Estimate]) -> str:
    """The same against trees that were given the records as published; "" where they did not learn."""
    gap, trees = methods[f"{OURS} - {TREES_AS_PUBLISHED}"], methods[TREES_AS_PUBLISHED]
    if not np.isfinite(trees.value):
        return ""
    share = 100 * gap.value / trees.value
    return (
        f"; against trees given the records as published {gap.value:+.3f} "
        f"[{gap.low:+.3f}, {gap.high:+.3f}] ({share:+.1f} %)"
    )


def _latent_row(choice: Choice, gamma: float, found: Found, tau: int) -> BenchmarkRow:
    late = _is_late(Generator.CORRECTED, tau)
    methods = compared(found, Generator.CORRECTED, tau, late=late)
    gap = methods[f"{OURS} - {WITHOUT}"]
    name = "one_step" if tau == 1 else f"tau{tau}"
    return _row(
        found,
        id=f"tumour.latent.{name}.g{gamma:g}",
        estimate=gap,
        goal=0.0,
        baselines={OURS: methods[OURS].value, WITHOUT: methods[WITHOUT].value},
        note=(
            f"Error with the latent loss minus without it, all else equal (first weights, lessons, "
            f"steps), corrected, {_what(tau).lower()}, gamma {gamma:g}; below 0 the latent helps. "
            f"By seed: {', '.join(f'{value:+.3f}' for value in gap.by_seed)}. "
            f"{published.LATENT_TRIED if gap.value > 0 else ''}{_size(choice, found)}"
        ),
    )


def _plan_rows(choice: Choice, gamma: float, found: Found) -> list[BenchmarkRow]:
    regrets = {arm: _regret(plans, "model") for arm, plans in found.plans.items()}
    others = {name: _regret(found.plans[OURS], name) for name in ("never", "always")}
    gap = _share([_paired(a, b) for a, b in zip(*found.plans.values(), strict=True)])
    number = len(found.plans[OURS][0]["oracle"])
    what = (
        f"Beam over four choices a day for six days with the learned model, judged by the true "
        f"simulator; cost: mean volume relative to now + .05 a treatment; {number} days of test "
        f"patients a seed, gamma {gamma:g}. Regret above the best of all 4,096 plans, in percent of "
        "what never treating costs. "
    )
    return [
        _row(
            found,
            id=f"tumour.plan.regret.g{gamma:g}",
            estimate=regrets[OURS],
            goal=10.0,
            unit="% of never treating",
            num_plans=number * len(found.seeds),
            baselines={
                WITHOUT: regrets[WITHOUT].value,
                **{f"{name} treating": each.value for name, each in others.items()},
            },
            note=what + _size(choice, found),
        ),
        _row(
            found,
            id=f"tumour.latent.plan_regret.g{gamma:g}",
            estimate=gap,
            goal=0.0,
            unit="% of never treating",
            num_plans=number * len(found.seeds),
            baselines={arm: each.value for arm, each in regrets.items()},
            note=(
                "Regret with the latent loss minus without it; below 0 the latent helps. "
                + what
                + _size(choice, found)
            ),
        ),
    ]


def _paired(ours: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.asarray(100 * (ours["model"] - other["model"]) / ours["never"].mean())


def _regret(plans: Sequence[Mapping[str, np.ndarray]], who: str) -> Estimate:
    return _share([100 * (p[who] - p["oracle"]) / p["never"].mean() for p in plans])


def _share(by_seed: Sequence[np.ndarray]) -> Estimate:
    """The mean over seeds of the mean over plans, seeds and plans drawn again."""
    generator = np.random.default_rng(0)
    means = []
    for _ in range(1000):
        chosen = generator.integers(len(by_seed), size=len(by_seed))
        means.append(
            np.mean([generator.choice(by_seed[p], len(by_seed[p])).mean() for p in chosen])
        )
    low, high = np.quantile(means, (0.025, 0.975))
    own = tuple(float(each.mean()) for each in by_seed)
    return Estimate(float(np.mean(own)), float(low), float(high), own)


def _what(tau: int) -> str:
    return (
        "One step ahead, all four treatments" if tau == 1 else f"One sliding treatment, tau {tau}"
    )


def _size(choice: Choice, found: Found) -> str:
    size = choice.size
    return (
        f"Size: {size.num_patients:,} patients to learn from, {size.num_test_patients:,} test "
        f"patients (one step: all days; sliding: day 0 and {100 * size.share_of_days:.0f} % of the "
        f"others, weighted), {len(found.seeds)} seeds, "
        f"{size.num_steps} steps of 32 patients; trees on {size.tree_rows:,} days for each number of "
        "days ahead. The trees and both arms of ours learn from the same courses, each also as if "
        "its record had begun a day later, for nobody is treated on the first day of a published "
        "course; trees given the records as published stand beside them, and a goal that is a share of "
        "the trees' error is of the better ones'. The floor knows the parameters, the filter the equation."
    )


def _row(
    found: Found,
    *,
    id: str,  # noqa: A002 - the field of a row
    estimate: Estimate,
    goal: float | None,
    baselines: Mapping[str, float],
    note: str,
    unit: str = UNIT,
    num_plans: int | None = None,
) -> BenchmarkRow:
    return measured(
        clock=SystemClock(),
        id=id,
        value=estimate.value,
        unit=unit,
        better=Better.LOWER,
        goal=goal,
        interval=(
            min(estimate.low, estimate.value),
            max(estimate.high, estimate.value),
        ),
        baselines=dict(baselines),
        n=num_plans or sum(len(each.count) for each in next(iter(found.errors.values()))),
        seeds=found.seeds,
        command=COMMAND,
        note=note,
    )
