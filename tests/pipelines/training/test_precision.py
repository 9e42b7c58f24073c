"""bfloat16: close to float32, with SIGReg and the scan in float32 throughout; off unless asked for."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from clinical.worldmodel import memory, regulariser
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training.dataset import Case
from pipelines.training.lessons import CaseLessons
from pipelines.training.recipes import RECIPES, Recipe, TooFewRowsError
from pipelines.training.stepping import Step
from pipelines.training.train import action_tokens, train


class Dtypes(TorchDispatchMode):
    """The kinds of floating-point number that go into and come out of operations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for part in (*args, *(out if isinstance(out, tuple | list) else (out,))):
            if isinstance(part, torch.Tensor) and part.is_floating_point():
                self.seen.add(part.dtype)
        return out


@pytest.fixture
def quiet(tiny: Recipe) -> Recipe:
    return replace(tiny, model=replace(tiny.model, dropout=0.0))


def loss_of(
    recipe: Recipe, cases: list[Case], tensorizer: Tensorizer
) -> tuple[dict[str, float], dict[str, torch.Tensor], Jepa]:
    generator = torch.Generator().manual_seed(0)
    model = Jepa(recipe.model, tensorizer.vocabulary).train()
    initialise(model, generator)
    step = Step(model, recipe, action_tokens(tensorizer.vocabulary))
    parts = step(CaseLessons(recipe, cases, tensorizer)(generator), generator)
    parts["total"].backward()
    gradients = {n: w.grad for n, w in model.named_parameters() if w.grad is not None}
    return {name: float(part.detach()) for name, part in parts.items()}, gradients, model


def test_bfloat16_is_near_float32(quiet: Recipe, cases: list[Case], tensorizer: Tensorizer):
    exact, gradients, _ = loss_of(quiet, cases, tensorizer)
    half = replace(quiet, bfloat16_on=("cpu",))
    near, others, _ = loss_of(half, cases, tensorizer)
    assert near["total"] != exact["total"]  # it was on
    assert near["total"] == pytest.approx(exact["total"], rel=0.02)
    assert all(gradient.dtype == torch.float32 for gradient in others.values())
    one, other = (torch.cat([g.flatten() for g in all_.values()]) for all_ in (gradients, others))
    assert nn.functional.cosine_similarity(one, other, dim=0) > 0.98


def test_the_scan_and_sigreg_stay_in_float32(
    quiet: Recipe, cases: list[Case], tensorizer: Tensorizer, monkeypatch: pytest.MonkeyPatch
):
    inside, calls = Dtypes(), {"scan": 0, "sigreg": 0}

    def watched(module, name):
        original = getattr(module, name)

        def call(*args, **kwargs):
            calls[name] += 1
            if name == "scan":
                assert all(part.dtype == torch.float32 for part in args)
            with inside:
                found = original(*args, **kwargs)
            assert found.dtype == torch.float32
            return found

        monkeypatch.setattr(module, name, call)

    watched(memory, "scan")
    watched(regulariser, "sigreg")
    outside = Dtypes()
    with outside:
        loss_of(replace(quiet, bfloat16_on=("cpu",)), cases, tensorizer)
    assert torch.bfloat16 in outside.seen
    assert calls["scan"] > 0
    assert calls["sigreg"] > 0
    # SIGReg's input may be half: it is the first thing made whole.
    assert inside.seen - {torch.bfloat16} == {torch.float32}


def test_bfloat16_is_on_where_a_recipe_says_so_and_nowhere_on_a_cpu():
    on = {name: make().bfloat16_on for name, make in RECIPES.items()}
    assert on["cpu-small"] == ()
    assert on["gpu-10min"] == on["multi-gpu"] == ("cuda",)


def test_gradients_of_several_lessons_are_those_of_their_mean(
    quiet: Recipe, cases: list[Case], tensorizer: Tensorizer
):
    many = replace(
        quiet, num_steps=1, lessons_per_step=2, patients_per_step=40, questions_per_patient=13
    )
    losses: list[float] = []
    train(
        many,
        CaseLessons(many, cases, tensorizer),
        tensorizer.vocabulary,
        watch=lambda progress: losses.append(progress.losses["total"]),
    )
    generator = torch.Generator().manual_seed(many.seed)
    model = Jepa(many.model, tensorizer.vocabulary).train()
    initialise(model, generator)
    step = Step(model, many, action_tokens(tensorizer.vocabulary))
    source = CaseLessons(many, cases, tensorizer)
    each = [float(step(source(generator), generator)["total"].detach()) for _ in range(2)]
    assert losses == [pytest.approx(sum(each) / 2, rel=1e-6)]


def test_lessons_that_are_added_up_must_each_have_rows_enough(tiny: Recipe):
    with pytest.raises(TooFewRowsError, match="512"):
        replace(tiny, lessons_per_step=2)
