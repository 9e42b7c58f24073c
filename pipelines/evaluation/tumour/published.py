"""What others published for the reference simulator, and the goals that were set; for context.

RMSE in percent of the lethal volume, mean over five seeds, from the corrected tables of the Causal
Transformer's repository (Melnychuk et al. 2022): CRN (Bica et al. 2020) and CT. They were measured by
their authors with the faulty test generator, all patients and all days; nothing here reruns them.
"""

from pipelines.evaluation.tumour.counterfactuals import Generator

ONE_STEP = {
    0.0: {"CRN": 0.755, "CT": 0.770},
    1.0: {"CRN": 0.788, "CT": 0.783},
    2.0: {"CRN": 0.881, "CT": 0.864},
    3.0: {"CRN": 1.062, "CT": 1.098},
    4.0: {"CRN": 1.358, "CT": 1.413},
}
TAU = {
    2: {0.0: 0.681, 1.0: 0.677, 2.0: 0.713, 3.0: 0.908, 4.0: 1.274},
    6: {0.0: 0.789, 1.0: 0.821, 2.0: 0.909, 3.0: 1.205, 4.0: 2.052},
}
"""CT, one sliding treatment."""

LATENT_TRIED = (
    "Missed: here the latent loss does not pay. Tried at gamma 0, seed 10: a latent of 32 (tau 6 "
    "+.107, the regulariser far above its null, for a day holds little), of 8 (on validation patients' "
    "factual plans tau 6 .635 with it and .792 without), a fourth of the regulariser's weight. "
)

_GOALS = {
    (Generator.CORRECTED, 6): {0.0: 0.55, 2.0: 0.42},
    (Generator.REFERENCE, 1): {0.0: 0.65, 3.0: 0.85, 4.0: 0.95},
    (Generator.REFERENCE, 6): {0.0: 0.72, 2.0: 0.78, 3.0: 0.85},
}
AHEAD_OF_TREES = 0.95
"""One step ahead on the corrected simulator the goal is this share of the trees' error."""


TRIED = (
    "Missed. The goal was set on other draws of test patients, where persistence stood at 1.69 one "
    "step ahead; compare with the trees and the filter beside it. Tried at gamma 0, seed 10, each "
    "trained for about a minute: (1) the error of all windows counted alike instead of by time ahead "
    "(300 steps, latent of 32: tau 6 .729 instead of .785, one step .846 instead of .799); (2) a latent "
    "of 8 instead of 32, and the effects of planned actions added up (on factual plans of validation "
    "patients tau 6 .663 instead of .733; tau 6 of the test .708 with 500 smaller steps); (3) asking "
    "more often about days that few treatments follow (worse on all validation plans, also the sparse "
    "ones: tau 6 .957 instead of .894). On draws of a seed of its own (7, gamma 0; one step, tau 6): 500 "
    "steps .668, .589; 1,000 steps .651, .554; with a latent loss of .3 .637, .560; of 64 patients each "
    ".661, .531; with a state of 64 .687, .571; and at gamma 2, 500 steps .590, .388, 2,000 steps .578, .393. "
)
"""Of rows whose goal is missed; the figures are of single runs and differ by some percent by chance."""


def goal_of(kind: Generator, tau: int, gamma: float, trees: float) -> float | None:
    """The goal of a row; `trees` is what the better ones came to in the same run."""
    if kind is Generator.CORRECTED and tau == 1:
        return round(AHEAD_OF_TREES * trees, 4)
    return _GOALS.get((kind, tau), {}).get(gamma)


def context_of(tau: int, gamma: float) -> str:
    """What is published for a row of the reference simulator; "" where nothing is."""
    if tau == 1 and gamma in ONE_STEP:
        each = ", ".join(f"{name} {value:.3f}" for name, value in ONE_STEP[gamma].items())
        return f"Published on the reference simulator: {each}. "
    if tau in TAU and gamma in TAU[tau]:
        return f"Published on the reference simulator: CT {TAU[tau][gamma]:.3f}. "
    return ""
