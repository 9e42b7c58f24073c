"""The rows of the table of forecast cost, from what each seed measured."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from adapters.clock import SystemClock
from pipelines.evaluation.benchmark_file import BenchmarkRow, Better, measured
from pipelines.evaluation.figures import Floats, Sampling, estimate
from pipelines.evaluation.forecast.asking import Foretold, Written
from pipelines.evaluation.metrics import auroc

COMMAND = "clinical bench forecast-cost --data FOLDER"


@dataclass(frozen=True, slots=True)
class AskedStay:
    """A stay, whether the first value in the window was low, and the last one before the question."""

    place: int
    is_low: bool
    last: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What both models said of a stay, and how long it took them."""

    stay: AskedStay
    ours: Foretold
    theirs: Written


@dataclass(frozen=True, slots=True)
class SeedResult:
    """One seed; operations are per stay, sizes in parameters."""

    answers: list[Answer]
    num_paths: int
    wanted_paths: float
    our_operations: float
    their_operations: float
    sizes: tuple[int, int]

    def to_json(self) -> str:
        """As text, so that a table goes on after the seeds that are done."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "SeedResult":
        """The result that `to_json` wrote."""
        fields = json.loads(text)
        answers = [
            Answer(
                AskedStay(**answer["stay"]), Foretold(**answer["ours"]), Written(**answer["theirs"])
            )
            for answer in fields.pop("answers")
        ]
        return cls(answers=answers, **(fields | {"sizes": tuple(fields["sizes"])}))


def rows(seeds: Sequence[SeedResult], note: str, sizes: str = "") -> list[BenchmarkRow]:
    """`forecast.cost_ratio.24h` and `forecast.auroc_gain.24h`; `sizes` are the command's own words for them."""
    answers = [answer for seed in seeds for answer in seed.answers]
    sampling = Sampling(patients=np.array([answer.stay.place for answer in answers]))
    had = _column([answer.stay.is_low for answer in answers])
    ours = auroc(had, _column([answer.ours.probability for answer in answers]))
    theirs = auroc(had, _column([answer.theirs.probability for answer in answers]))
    last = auroc(had, _column([-answer.stay.last for answer in answers]))
    all_of_it = _column([answer.ours.seconds for answer in answers])
    forecast = _column([answer.ours.forecast_s for answer in answers])
    written = _column([answer.theirs.seconds for answer in answers])
    ratio = estimate(lambda w: (w @ written) / (w @ all_of_it), sampling)
    gain = estimate(lambda w: ours(w) - theirs(w), sampling)
    one = np.ones((1, len(answers)))
    scores = {
        "AUROC ours": float(ours(one)[0]),
        "AUROC transformer": float(theirs(one)[0]),
        "AUROC last value": float(last(one)[0]),
    }
    costs = {
        "operations, ratio": sum(s.their_operations for s in seeds)
        / sum(s.our_operations for s in seeds),
        "ours, ms": 1000 * float(all_of_it.mean()),
        "of it the forecast, ms": 1000 * float(forecast.mean()),
        "transformer, ms": 1000 * float(written.mean()),
        "futures": float(np.mean([s.num_paths for s in seeds])),
        "futures for equal variance": float(np.mean([s.wanted_paths for s in seeds])),
    }
    common: dict[str, Any] = {
        "clock": SystemClock(),
        "better": Better.HIGHER,
        "n": len(answers),
        "seeds": tuple(range(len(seeds))),
        "command": f"{COMMAND}{sizes}",
    }
    # A generator that has hardly learned can be beaten by anyone: then only the cost says something.
    is_poor = scores["AUROC transformer"] < scores["AUROC last value"]
    warning = (
        " The transformer foretells worse than the last value: compare costs, not AUROCs." * is_poor
    )
    assert ratio.value is not None
    made = [
        measured(
            id="forecast.cost_ratio.24h",
            value=ratio.value,
            unit="x",
            goal=50.0,
            interval=_interval(ratio.low, ratio.high),
            baselines=costs | scores,
            note=note + warning,
            **common,
        )
    ]
    if gain.value is not None:
        made.append(
            measured(
                id="forecast.auroc_gain.24h",
                value=gain.value,
                unit="AUROC",
                goal=0.0,
                interval=_interval(gain.low, gain.high),
                baselines=scores,
                note="Ours minus the transformer's, paired on the stays of forecast.cost_ratio.24h."
                + warning,
                **common,
            )
        )
    return made


def _interval(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _column(values: Sequence[float]) -> Floats:
    return np.asarray(values, dtype=np.float64)
