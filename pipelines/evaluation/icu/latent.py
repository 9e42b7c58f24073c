"""What the latent loss is worth on these stays: the same network with it and without, asked alike.

Beside all labels (in the table itself): with few labels, with vital signs withheld, with codes that were
never seen. The two networks of a seed differ in nothing but the loss.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from pipelines.evaluation.figures import Floats
from pipelines.evaluation.icu import few_shot
from pipelines.evaluation.icu.arms import FROZEN, Arms, doubles
from pipelines.evaluation.icu.readouts import probe_logits
from pipelines.evaluation.icu.states import Hindrance, states_of

WITH, WITHOUT = "latent", "grounding"
_FEW = 8
_WORDS = {
    Hindrance.VITALS_WITHHELD: "vital signs withheld from the stays asked about",
    Hindrance.CODES_UNSEEN: "every code of the stays asked about one that was never seen",
}

Pairs = Mapping[str, tuple[list[Floats], list[Floats]]]
"""By name: log odds with the latent loss and without, paired."""


def pairs(arms: Sequence[Arms], frozen: str, num_draws: int) -> Pairs:
    """From every seed that has both networks."""
    found = {
        str(how): (
            [_mean(arms, WITH, how, frozen)],
            [_mean(arms, WITHOUT, how, frozen)],
        )
        for how in Hindrance
    }
    few = tuple([*_few(arms, arm, num_draws)] for arm in (WITH, WITHOUT))
    return found | {f"k{_FEW}": (few[0], few[1])}


def _mean(arms: Sequence[Arms], arm: str, how: Hindrance, frozen: str) -> Floats:
    mean: Floats = np.mean([_hindered(each, arm, how)[frozen] for each in arms], axis=0)
    return mean


def _hindered(arms: Arms, arm: str, how: Hindrance) -> dict[str, Floats]:
    """A probe of each kind of state, fitted to whole records."""

    def compute() -> dict[str, Floats]:
        split = arms.split
        learned, _ = arms.states(arm)
        asked = states_of(arms.network(arm), split.asked, split.asked_places, hindrance=how)
        return {
            kind: probe_logits(doubles(learned, kind), split.died, doubles(asked, kind))
            for kind in FROZEN
        }

    return arms.parts.arrays(f"{arms.split.name}/{arms.seed}/{arm}-{how}", compute)


def _few(arms: Sequence[Arms], arm: str, num_draws: int) -> Floats:
    """`[draws, n]`: the draws of the few-shot rows, the seeds in turn."""

    def compute() -> dict[str, Floats]:
        died, found = arms[0].split.died, []
        for number, rows in enumerate(few_shot.draws(died, _FEW, num_draws)):
            states = arms[number % len(arms)].states(arm)
            learned, asked = (doubles(each, few_shot.STATES[_FEW]) for each in states)
            found.append(few_shot.probe(learned, died, asked, rows))
        return {"probes": np.stack(found)}

    name = f"{arms[0].split.name}/few-shot-{_FEW}-{arm}"
    return arms[0].parts.arrays(name, compute)["probes"]


def in_words(name: str) -> str:
    """What was asked, for a note."""
    known = {str(how): words for how, words in _WORDS.items()}
    return known.get(name, f"{_FEW} who died and as many who did not to learn from")
