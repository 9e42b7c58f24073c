"""The cost of a forecast: one risk from quantiles and from futures, records cut in time, kept seeds."""

from pathlib import Path

import pytest
import torch

from clinical.worldmodel.config import QUANTILES
from clinical.worldmodel.fitting import FitConfig, fit
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.evaluation.baselines.next_event import Classes, NextEvent, NextEventConfig
from pipelines.evaluation.baselines.next_event_sampling import Futures
from pipelines.evaluation.forecast.asking import Foretold, Written, foretell, operations, write
from pipelines.evaluation.forecast.risks import (
    LowValue,
    low_from_futures,
    low_from_quantiles,
    share_below,
)
from pipelines.evaluation.forecast.rows import Answer, AskedStay, SeedResult, rows
from pipelines.evaluation.forecast.table import until
from pipelines.training.dataset import moment_of
from tests.clinical.worldmodel.conftest import SMALL, convert
from tests.clinical.worldmodel.patients import WEIGHT, made_up


@pytest.fixture(scope="module")
def tensorizer() -> Tensorizer:
    config = FitConfig(min_forecast_values=20, num_buckets=SMALL.num_buckets)
    return Tensorizer(fit([made_up(number) for number in range(30)], convert, config=config))


def risk(tensorizer: Tensorizer, limit: float, window: tuple[float, float]) -> LowValue:
    assert WEIGHT.key in tensorizer.vocabulary.numeric
    return LowValue(code=WEIGHT.key, limit=limit, start_days=window[0], end_days=window[1])


def test_a_limit_on_a_quantile_has_the_quantiles_level(tensorizer: Tensorizer):
    vocabulary = tensorizer.vocabulary
    scale = vocabulary.scales[WEIGHT.key]
    said = torch.tensor([-1.2, -0.4, 0.1, 0.5, 2.0])
    quantiles = said.expand(3, len(vocabulary.numeric), 5)
    for level, value in zip(QUANTILES, said.tolist(), strict=True):
        low = risk(tensorizer, scale.mean + value * scale.sd, (0, 1))
        found = low_from_quantiles(low, vocabulary, quantiles)
        assert found.tolist() == pytest.approx([level] * 3, abs=1e-6)
    extreme = risk(tensorizer, scale.mean - 9 * scale.sd, (0, 1))
    assert low_from_quantiles(extreme, vocabulary, quantiles).max() < 0.01


def test_only_the_first_value_in_the_window_counts(tensorizer: Tensorizer):
    vocabulary = tensorizer.vocabulary
    classes, knots = Classes(vocabulary), vocabulary.scales[WEIGHT.key].knots
    first = int(classes.first[vocabulary.tokens[WEIGHT.key]])
    low, high, other = first, first + 9, 1
    futures = Futures(
        torch.tensor([[low, high, high], [other, high, low], [low, other, -1], [high, low, high]]),
        torch.tensor([[0.5, 1.2, 1.4], [1.1, 1.2, 1.3], [0.9, 1.5, torch.inf], [1.0, 1.6, 1.9]]),
        0,
    )
    found, has = low_from_futures(risk(tensorizer, knots[5], (1, 2)), vocabulary, classes, futures)
    assert has.tolist() == [True, True, False, True]
    assert found.tolist() == [0.0, 0.0, 0.0, 1.0]


def test_a_decile_that_the_limit_cuts_counts_in_part():
    knots = tuple(float(knot) for knot in range(11))
    assert share_below(knots, 2.25).tolist() == [1, 1, 0.25, *[0.0] * 7]


def test_a_record_until_a_day_is_the_record_cut_there(tensorizer: Tensorizer):
    timeline = made_up(4)
    batch = tensorizer.timeline(timeline)
    day = float(batch.bundle_day[len(batch.bundle_day) // 2])
    cut, right = until(batch, day), tensorizer.timeline(timeline.cut(moment_of(day)))
    model = Jepa(SMALL, tensorizer.vocabulary).eval()
    initialise(model, torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, other = (
            model.read(
                b,
                model.encode(b),
                torch.zeros(1, dtype=torch.int64),
                torch.tensor([day], dtype=torch.float64),
            )
            for b in (cut, right)
        )
    assert torch.allclose(one.state, other.state, atol=1e-5)
    assert torch.equal(one.features, other.features)


def test_both_models_are_asked_from_the_same_record(tensorizer: Tensorizer):
    vocabulary = tensorizer.vocabulary
    ours = Jepa(SMALL, vocabulary).eval()
    theirs = NextEvent(NextEventConfig(width=16, num_attention_heads=2), vocabulary).eval()
    for model in (ours, theirs):
        initialise(model, torch.Generator().manual_seed(0))
    record = tensorizer.timeline(made_up(3))
    day = float(record.bundle_day[-1])
    low = risk(tensorizer, vocabulary.scales[WEIGHT.key].mean, SMALL.windows_days[1])
    told = foretell(ours, vocabulary, record, day, low)
    assert len(told.by_head) == SMALL.num_heads
    assert 0 < told.probability < 1
    few = write(theirs, vocabulary, record, day, low, num_paths=4, seed=1)
    assert 0 < few.probability < 1
    four, eight = (
        operations(lambda n=num: write(theirs, vocabulary, record, day, low, num_paths=n, seed=1))
        for num in (4, 8)
    )
    assert eight > four > 0


def _seed() -> SeedResult:
    answers = [
        Answer(
            AskedStay(place, place % 2 == 0, 70.0),
            Foretold([0.9 if place % 2 == 0 else 0.2] * 4, 0.01, 0.002),
            Written(0.5, 10, 0, 300, 1.2),
        )
        for place in range(60)
    ]
    return SeedResult(answers, 12, 11.7, 1e6, 1e8, (1000, 1010))


def test_rows_say_how_much_cheaper_and_how_much_better(tmp_path: Path):
    made = {row.id: row for row in rows([_seed()], "A test.")}
    ratio, gain = made["forecast.cost_ratio.24h"], made["forecast.auroc_gain.24h"]
    assert ratio.value == pytest.approx(100)
    assert ratio.is_goal_met
    assert ratio.baselines["operations, ratio"] == pytest.approx(100)
    assert gain.value == pytest.approx(0.5)


def test_a_seed_that_is_done_is_kept():
    assert SeedResult.from_json(_seed().to_json()) == _seed()
