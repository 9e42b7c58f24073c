"""The bench of one more bundle: what it appends to, and what it makes of its times."""

from pathlib import Path

import pytest
import torch

from clinical.worldmodel.checkpoint import load
from clinical.worldmodel.inference import Inference
from clinical.worldmodel.tensorize import day_of
from pipelines.evaluation.append import bench
from pipelines.samples import FOLDER

SHIPPED = FOLDER / "checkpoints" / "synthea-small"


@pytest.fixture(scope="module")
def inference() -> Inference:
    return load(SHIPPED)


def test_appending_gives_the_state_of_reading_it_all(inference: Inference):
    record = bench.endless(300)
    history = bench.history_of(inference.model, inference.tensorizer, record, 200)
    end = bench.bundle_end(record, 200)
    batch, _ = inference.tensorizer.known([*record[:end], *history.following])
    day = torch.tensor([day_of(history.following[-1].at)], dtype=torch.float64)
    with torch.no_grad():
        encoded = inference.model.encode(batch)
        whole = inference.model.read(batch, encoded, torch.zeros(1, dtype=torch.int64), day).state
    appended = bench.append(inference.model, inference.tensorizer, history)
    assert torch.allclose(appended, whole, atol=1e-4)


def test_the_same_bundle_is_appended_to_every_history(inference: Inference):
    record = bench.endless(400)
    short, long = (
        bench.history_of(inference.model, inference.tensorizer, record, length)
        for length in (50, 300)
    )
    assert [k.event for k in short.following] == [k.event for k in long.following]
    assert len(short.following) >= 4
    assert short.following[0].at < long.following[0].at


def test_flatness_is_the_ratio_of_medians():
    value, (low, high) = bench.flatness(
        {100: [1.0, 1.0, 5.0], 1000: [2.0], 10_000: [3.0, 2.9, 3.1]}
    )
    assert value == pytest.approx(3.0)
    assert low <= value <= high


def test_the_bench_measures_both_models(tmp_path: Path):
    rows = bench.run(SHIPPED, lengths=(50, 400), repetitions=3, say=lambda _: None)
    assert [row.id for row in rows] == ["append.flatness"]
    assert rows[0].value > 0
    assert rows[0].baselines["transformer, the same ratio"] > 0
    assert rows[0].n == 3
