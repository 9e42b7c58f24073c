"""Training: the same seed gives the same weights, also when cut off, and ends in a checkpoint."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clinical.timeline.timeline import Timeline
from clinical.worldmodel import checkpoint
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.learning import training_loss
from clinical.worldmodel.randomness import initialise, seed_dropout
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training import diagnostics
from pipelines.training import train as training
from pipelines.training.about import OWN
from pipelines.training.dataset import Case
from pipelines.training.diagnostics import diagnose
from pipelines.training.gates import UnhealthyModelError
from pipelines.training.lessons import CaseLessons, draw_lesson
from pipelines.training.preparing import TooFewPatientsError
from pipelines.training.recipes import Recipe, UnknownRecipeError, recipe
from pipelines.training.run import STATE_FILE, Assignment, run
from pipelines.training.seen import look
from pipelines.training.train import Progress, train
from pipelines.training.watching import GateWatch
from tests.clinical.worldmodel.patients import living, question


def same(one: Jepa, other: Jepa) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def taught(recipe: Recipe, cases: list[Case], tensorizer: Tensorizer, **how: Any) -> Jepa:
    return train(recipe, CaseLessons(recipe, cases, tensorizer), tensorizer.vocabulary, **how)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    first = taught(tiny, cases, tensorizer)
    torch.rand(7)  # the process-wide generator does not matter
    assert same(first, taught(tiny, cases, tensorizer))
    assert not same(first, taught(replace(tiny, seed=4), cases, tensorizer))


def test_a_run_that_was_cut_off_ends_at_the_same_weights(
    tiny: Recipe,
    cases: list[Case],
    tensorizer: Tensorizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(training, "_SAVE_EVERY", 5)
    state_file = tmp_path / "state" / STATE_FILE

    class PowerCutError(Exception):
        pass

    def cut(progress: Progress) -> None:
        if progress.step == 11:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        taught(tiny, cases, tensorizer, watch=cut, state_file=state_file)
    steps: list[int] = []
    resumed = taught(
        tiny, cases, tensorizer, watch=lambda p: steps.append(p.step), state_file=state_file
    )
    assert steps == [11, 12]
    assert same(resumed, taught(tiny, cases, tensorizer))


def test_every_part_of_the_objective_is_finite_and_every_weight_learns(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    generator = torch.Generator().manual_seed(0)
    model = Jepa(tiny.model, tensorizer.vocabulary)
    initialise(model, generator)
    seed_dropout(model, generator)
    model.train()
    tokens = tensorizer.vocabulary.tokens
    actions = torch.tensor([tokens[key] for key in tensorizer.vocabulary.actions])
    draws = torch.ones(len(cases), tiny.model.num_heads)
    for _ in range(3):
        lesson = draw_lesson(tiny, cases, draws, tensorizer, generator)
        parts = training_loss(
            model,
            lesson,
            actions,
            config=tiny.loss,
            corruption=tiny.corruption,
            generator=generator,
        )
        assert all(torch.isfinite(part) for part in parts.values())
        parts["total"].backward()  # type: ignore[no-untyped-call]
    silent = [
        name
        for name, weight in model.named_parameters()
        if weight.grad is None or not weight.grad.any()
    ]
    assert silent == []


def test_training_makes_the_loss_smaller(tiny: Recipe, cases: list[Case], tensorizer: Tensorizer):
    totals: list[float] = []
    taught(
        replace(tiny, num_steps=60),
        cases,
        tensorizer,
        watch=lambda progress: totals.append(progress.losses["total"]),
    )
    assert sum(totals[-10:]) < 0.85 * sum(totals[:10])


def test_a_run_ends_in_a_checkpoint_that_answers_and_says_how_it_did(
    tiny: Recipe, timelines: list[Timeline], tmp_path: Path
):
    assignment = Assignment(
        recipe=tiny,
        timelines=timelines,
        out=tmp_path,
        name="tiny",
        about=OWN,
        may_be_unhealthy=True,
    )
    said: list[str] = []
    digest, report = run(assignment, say=said.append)
    inference = checkpoint.load(tmp_path)
    assert inference.fingerprint.manifest_digest == digest
    forecasts = inference.forecast([question(t) for t in living(range(5))])
    assert any(f.trajectory is not None for f in forecasts)
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "Not for clinical use" in card
    assert OWN.data in card
    assert all(gate.name in card for gate in report.gates)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert set(manifest["files"]) >= {"MODEL_CARD.md", "losses.svg", "figures.svg"}
    assert manifest["training"]["gates"][0]["name"] == report.gates[0].name
    assert not (tmp_path / STATE_FILE).exists()
    assert report.values
    assert said


def test_without_enough_patients_training_says_so(
    tiny: Recipe, timelines: list[Timeline], tmp_path: Path
):
    assignment = Assignment(
        recipe=tiny, timelines=timelines[:2], out=tmp_path, name="tiny", about=OWN
    )
    with pytest.raises(TooFewPatientsError):
        run(assignment)


def test_an_unknown_recipe_is_named():
    with pytest.raises(UnknownRecipeError, match="cpu-small"):
        recipe("gpu-huge")


def test_collapsed_latents_fail_their_gates(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    model = taught(tiny, cases, tensorizer)
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.projector.out.weight.mul_(1e-3)
    failed = {g.name for g in diagnose(broken, tensorizer, cases, tiny, cases) if g.is_failed}
    assert "least deviation of a latent dimension" in failed
    assert "SIGReg / its value for a Gaussian, one window a patient" in failed


def test_where_a_decisive_sign_is_missing_nothing_is_written(
    tiny: Recipe, timelines: list[Timeline], tmp_path: Path
):
    """Twelve steps teach too little for the latents to be foretold."""
    assignment = Assignment(recipe=tiny, timelines=timelines, out=tmp_path, name="tiny", about=OWN)
    with pytest.raises(UnhealthyModelError, match="missing signs of health"):
        run(assignment)
    assert not (tmp_path / "manifest.json").exists()
    assert not (tmp_path / "weights.safetensors").exists()
    digest, report = run(replace(assignment, may_be_unhealthy=True))
    assert digest
    assert not report.is_healthy
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["training"]["is_healthy"] is False
    assert "**Unhealthy" in (tmp_path / "MODEL_CARD.md").read_text()
    assert "gates.svg" in manifest["files"]


def test_looking_at_the_gates_meanwhile_changes_no_weight(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    said: list[str] = []
    watch = GateWatch(tensorizer, cases[:15], cases[15:], tiny, said.append, every=5)
    assert same(taught(tiny, cases, tensorizer, inspect=watch), taught(tiny, cases, tensorizer))
    assert [row["step"] for row in watch.history] == [5, 10]
    assert said[0].startswith("step 5: ")


def test_where_no_record_holds_actions_their_signs_do_not_apply(
    tiny: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    model = taught(replace(tiny, num_steps=2), cases, tensorizer)
    seen = look(model, tensorizer, cases, tiny, torch.Generator())
    assert seen.has_actions.any()
    without = replace(seen, has_actions=torch.zeros_like(seen.has_actions))
    gates = diagnostics._actions(without, torch.Generator())
    assert [gate.verdict for gate in gates] == ["does not apply"] * 3
    assert not any(gate.is_failed for gate in gates)
