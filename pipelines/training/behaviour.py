"""Fits probes that say how usual an action is for a patient in some state: what planning leans on.

Knows states of a trained model and what was done in the windows after them. A probe is a regularised
logistic regression on training patients; its calibration, fitted on patients set aside, is folded
into its weights, for both are linear in the log odds. Where too few of those tell about an action, the
calibration is that of all actions together. Every patient counts once. An action that too few training
patients had, or went without, gets no probe: how usual it is stays unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import torch
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from clinical.prediction.calibration import PlattCalibration
from clinical.worldmodel.behaviour import probe_name, support_window
from clinical.worldmodel.config import AbstentionLimits
from clinical.worldmodel.grounding import outcomes
from clinical.worldmodel.jepa import Jepa
from clinical.worldmodel.probe import Probe
from clinical.worldmodel.tensorize import Tensorizer
from pipelines.training.calibrate import platt_of
from pipelines.training.dataset import Case, lesson_of
from pipelines.training.train import action_tokens

_STRENGTH = 0.03  # inverse of the penalty on a weight, in patients
_PER_PATIENT = 24  # questions; more of one patient say little that is new


@dataclass(frozen=True, slots=True)
class Observed:
    """Questions: whose, the state at each, and which actions were done in the support window."""

    patient: tuple[int, ...]
    states: Float[Tensor, "n D"]
    done: Bool[Tensor, "n a"]

    @property
    def weights(self) -> Float[Tensor, " n"]:
        """Every patient's questions weigh one together."""
        patient = torch.tensor(self.patient)
        return 1 / torch.bincount(patient)[patient].double()


def observe(
    model: Jepa, tensorizer: Tensorizer, cases: Sequence[Case], *, seed: int, device: str = "cpu"
) -> Observed:
    """What was done after moments of these patients whose record goes on long enough to tell."""
    window = support_window(model.config)
    assert window.end is not None, "trained windows end"
    reach = window.end / timedelta(days=1)
    generator = torch.Generator().manual_seed(seed)
    patients: list[int] = []
    states, done = [], []
    for patient, case in enumerate(cases):
        days = [day for day in case.asked_days if day + reach <= case.followed_until]
        order = torch.randperm(len(days), generator=generator)[:_PER_PATIENT].sort().values
        asked = [(case, days[place]) for place in order.tolist()]
        if asked:
            state, actions = _after(model, tensorizer, asked, reach, device)
            patients += [patient] * len(asked)
            states.append(state)
            done.append(actions)
    num_actions = len(tensorizer.vocabulary.actions)
    return Observed(
        tuple(patients),
        torch.cat([torch.zeros(0, model.config.width), *states]),
        torch.cat([torch.zeros(0, num_actions, dtype=torch.bool), *done]),
    )


def fit_behaviour(
    model: Jepa,
    tensorizer: Tensorizer,
    training: Sequence[Case],
    held_out: Sequence[Case],
    limits: AbstentionLimits,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[Probe, ...]:
    """A calibrated probe for every action of the vocabulary that enough training patients tell about.

    None at all where the patients set aside are too few to calibrate even all of them together.
    """
    if not tensorizer.vocabulary.actions:
        return ()
    fitted_on = observe(model, tensorizer, training, seed=seed, device=device)
    calibrated_on = observe(model, tensorizer, held_out, seed=seed + 1, device=device)
    raw = {
        place: probe
        for place, action in enumerate(tensorizer.vocabulary.actions)
        if (probe := _fit(fitted_on, place, probe_name(action, model.config), limits)) is not None
    }
    said = {place: _rows(probe, calibrated_on, place) for place, probe in raw.items()}
    pooled = platt_of([row for rows in said.values() for row in rows], limits, "pooled")
    own = {place: platt_of(said[place], limits, probe.name) for place, probe in raw.items()}
    return tuple(
        folded(probe, platt)
        for place, probe in raw.items()
        if (platt := own[place] or pooled) is not None
    )


def folded(probe: Probe, platt: PlattCalibration) -> Probe:
    """The probe whose log odds are those of `probe` after calibration."""
    return replace(
        probe,
        weights=tuple(platt.slope * weight for weight in probe.weights),
        bias=platt.slope * probe.bias + platt.intercept,
    )


def _rows(probe: Probe, seen: Observed, action: int) -> list[tuple[int, float, bool]]:
    """Patient, raw log odds, and whether it was done."""
    log_odds = probe.log_odds(seen.states).tolist()
    return list(zip(seen.patient, log_odds, seen.done[:, action].tolist(), strict=True))


def _fit(seen: Observed, action: int, name: str, limits: AbstentionLimits) -> Probe | None:
    done = seen.done[:, action]
    patient = torch.tensor(seen.patient)
    if (
        min(len(torch.unique(patient[done])), len(torch.unique(patient[~done])))
        < limits.min_outcomes
    ):
        return None
    states, weights = seen.states.double(), seen.weights
    share = (weights / weights.sum())[:, None]
    mean = (states * share).sum(0)
    scale = ((states - mean).square() * share).sum(0).sqrt().clamp(min=1e-6)
    model = LogisticRegression(C=_STRENGTH, max_iter=2000)
    model.fit(((states - mean) / scale).numpy(), done.numpy(), sample_weight=weights.numpy())
    return Probe(
        name=name,
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple(model.coef_[0].tolist()),
        bias=float(model.intercept_[0]),
    )


@torch.no_grad()
def _after(
    model: Jepa,
    tensorizer: Tensorizer,
    asked: Sequence[tuple[Case, float]],
    reach: float,
    device: str,
) -> tuple[Float[Tensor, "n D"], Bool[Tensor, "n a"]]:
    bounds = torch.tensor([[[0.0, reach]]]).expand(len(asked), -1, -1)
    lesson = lesson_of(asked, tensorizer, bounds, torch.ones(len(asked), model.config.num_heads))
    tokens = action_tokens(tensorizer.vocabulary)
    done = outcomes(model, lesson, tokens).actions[:, 0, : len(tokens)] > 0
    context = lesson.context.to(device)
    encoded = model.encode(context)
    reading = model.read(context, encoded, lesson.row.to(device), lesson.day.to(device))
    return reading.state.cpu(), done
