"""The table of intensive care on a tiny made-up folder: its rows, and who may see what."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clinical.worldmodel.fitting import FitConfig
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.tensorize import MODALITY_COLUMN, Tensorizer
from pipelines.evaluation.baselines.gru_d import GruDConfig
from pipelines.evaluation.icu import run as table
from pipelines.evaluation.icu.arms import Sizes
from pipelines.evaluation.icu.finetuning import FineTuning
from pipelines.evaluation.icu.scales import with_scales_of
from pipelines.evaluation.icu.splits import fold, folds_of, taught_by
from pipelines.evaluation.icu.states import VITAL_SIGNS, Hindrance, states_of
from pipelines.evaluation.icu.stays import StaySet, kept, read_set
from pipelines.icu.challenge import read_stays
from tests.pipelines.evaluation.icu.challenge_folder import write_folder

NUM_LEARNED, NUM_ASKED = 80, 60


def tiny() -> Sizes:
    sizes = table.sizes(num_steps=3)
    model = replace(
        sizes.recipe.model, width=16, latent=16, projector_width=16, num_buckets=64, num_heads=2
    )
    fitting = FitConfig(min_values=2, min_forecast_values=2, max_numeric=40, num_buckets=64)
    recipe = replace(sizes.recipe, model=model, vocabulary=fitting, patients_per_step=16)
    return replace(
        sizes,
        recipe=recipe,
        tuning=FineTuning(num_epochs=1, stays_per_step=32),
        gru=GruDConfig(width=8, num_epochs=1),
        num_folds=2,
        seeds=(0, 1),
        num_draws=2,
        num_next_event_steps=1,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(
        tmp_path_factory.mktemp("challenge"), num_learned=NUM_LEARNED, num_asked=NUM_ASKED
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def learned(folder: Path) -> StaySet:
    return table.Table(folder, tiny(), table.parts_in(folder / "kept", tiny(), print)).learned()


def told(_: str) -> None:
    pass


def test_no_outcome_of_the_test_set_is_needed_until_everything_is_said(folder: Path, cache: Path):
    outcomes = folder / table.ASKED_OUTCOMES
    hidden = outcomes.rename(folder / "hidden")
    with pytest.raises(table.MissingDataError):
        table.run(folder, cache, tiny(), told)
    parts = table.parts_in(cache, tiny(), told).folder
    assert (parts / "choice.json").exists()
    assert (parts / "whole" / "1" / "latent-finetuned.npz").exists()
    before = {path: path.stat().st_mtime_ns for path in parts.rglob("*.npz")}

    hidden.rename(outcomes)
    measured = table.run(folder, cache, tiny(), told)
    rows = {row.id: row for row in measured.rows}

    # With the outcomes at hand nothing was computed again: they can have changed no answer.
    assert {path: path.stat().st_mtime_ns for path in parts.rglob("*.npz")} == before
    assert measured.picture.startswith("<svg")
    kept = table.run(folder, cache, tiny(), told, only_kept=True)
    assert [row.value for row in kept.rows] == [row.value for row in measured.rows]
    expected = {
        *(f"p12.death.auroc.{name}" for name in ("finetuned", "frozen", "joined", "boosted")),
        *(f"p12.death.delta.{name}" for name in ("finetuned", "frozen", "joined", "latent_loss")),
        *(f"p12.few_shot.k{k}" for k in (8, 32, 128)),
        *(f"p12.latent.{name}" for name in ("vitals_withheld", "codes_unseen", "k8")),
        *("p12.death.ap", "p12.death.slope", "p12.death.brier", "p12.values.skill"),
    }
    assert expected <= set(rows)
    auroc = rows["p12.death.auroc.finetuned"]
    assert {"trees", "GRU-D", "last value, age, sex", "untrained, frozen"} <= set(auroc.baselines)
    assert auroc.n == NUM_ASKED
    assert auroc.interval is not None
    assert auroc.interval[0] <= auroc.value <= auroc.interval[1]
    assert auroc.baselines["trees"] > 0.6  # the made-up outcome can be learned
    gap = auroc.value - auroc.baselines["trees"]
    assert rows["p12.death.delta.finetuned"].value == pytest.approx(gap)


def test_what_a_fold_holds_out_changes_no_bit_of_what_it_learns_from(
    folder: Path, learned: StaySet
):
    taught = taught_by(_outcomes(folder, learned))
    held_out = folds_of(taught.died.numpy(), 2, seed=0)[0]
    other = _with_other_values(learned, held_out)
    assert not torch.equal(other.whole.value_z, learned.whole.value_z)

    one = fold(learned, taught, held_out, "one")
    two = fold(other, taught, held_out, "two")

    assert one.learned.vocabulary == two.learned.vocabulary
    for place in one.places.tolist():
        mine, theirs = one.learned.batches[place], two.learned.batches[place]
        assert torch.equal(mine.event_number, theirs.event_number)
        assert torch.equal(mine.running, theirs.running)
    assert not set(one.places.tolist()) & set(held_out.tolist())
    assert torch.equal(one.taught.died, taught.died[one.places])


def test_a_set_read_by_scales_of_its_own_is_what_the_tensorizer_reads(
    folder: Path, learned: StaySet
):
    places = torch.arange(0, NUM_LEARNED, 2)
    own = with_scales_of(learned, places)
    tensorizer = Tensorizer(own.vocabulary, tiny().recipe.model.clock_days)
    for place, stay in enumerate(read_stays(folder / "set-a")[:6]):
        read, rescaled = tensorizer.timeline(stay.timeline), own.batches[place]
        for name in ("event_number", "value_z", "running", "event_concept", "event_bundle"):
            torch.testing.assert_close(
                getattr(rescaled, name), getattr(read, name), atol=2e-5, rtol=2e-5
            )


def test_what_is_withheld_changes_the_state_and_a_fitted_readout_does_not_see_it(learned: StaySet):
    model = Jepa(tiny().recipe.model, learned.vocabulary)
    initialise(model, torch.Generator().manual_seed(0))
    places = torch.arange(5)
    whole = states_of(model, learned, places)
    for how in Hindrance:
        assert not torch.equal(states_of(model, learned, places, hindrance=how).last, whole.last)
    blind = states_of(model, learned, places, hindrance=Hindrance.VITALS_WITHHELD)
    is_vital = learned.joined(range(5)).event_attributes[:, MODALITY_COLUMN] == VITAL_SIGNS
    assert 0 < int(is_vital.sum()) < len(is_vital)
    # The statistics of a series that was withheld are those of one that was never measured.
    assert int((blind.series != whole.series).sum()) > 0


def test_a_set_is_read_anew_when_its_archive_is_another(tmp_path: Path):
    folder = write_folder(tmp_path, num_learned=6, num_asked=4)
    recipe = tiny().recipe

    def read() -> StaySet:
        return read_set(folder / "set-a", recipe.model, recipe.vocabulary)

    first = kept(tmp_path / "kept" / "a.safetensors", folder / "set-a", read)
    again = kept(tmp_path / "kept" / "a.safetensors", folder / "set-a", lambda: pytest.fail("read"))
    assert again.record_ids == first.record_ids
    next((folder / "set-a").glob("*.txt")).unlink()
    other = kept(tmp_path / "kept" / "a.safetensors", folder / "set-a", read)
    assert len(other) == len(first) - 1


def test_each_fold_holds_out_its_share_of_those_who_died():
    died = np.array([1.0] * 9 + [0.0] * 51)
    folds = folds_of(died, 3, seed=0)
    assert sorted(place for fold_ in folds for place in fold_.tolist()) == list(range(60))
    assert [int(died[fold_].sum()) for fold_ in folds] == [3, 3, 3]


def _outcomes(folder: Path, stays: StaySet) -> list:
    kept = table.Table(folder, tiny(), table.parts_in(folder / "kept", tiny(), told))
    return kept.outcomes(table.LEARNED_OUTCOMES, stays)


def _with_other_values(stays: StaySet, places: torch.Tensor) -> StaySet:
    row = stays.whole.event_row[stays.whole.value_event]
    is_held = torch.isin(row, places)
    return replace(stays, whole=replace(stays.whole, value_z=stays.whole.value_z + 0.7 * is_held))
