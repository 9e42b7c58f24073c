"""All that is said of the test set before its outcomes are known, and what is there of it so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.evaluation.figures import Floats
from pipelines.evaluation.icu import few_shot, latent
from pipelines.evaluation.icu.arms import Arms, Sizes
from pipelines.evaluation.icu.choice import Choice, joined, said_by
from pipelines.evaluation.icu.few_shot import Shots
from pipelines.evaluation.icu.values import Course

SAID = ("trees", "boosted", "latent-finetuned", "latent-frozen")
"""The parts without which a seed is not in the table."""


@dataclass(frozen=True)
class Answers:
    """All that is said of the test set, before its outcomes are known."""

    seeds: tuple[int, ...]
    said: Mapping[str, Floats]  # log odds by readout, mean over seeds
    beside: Mapping[str, Floats]  # those of everyone else
    pairs: Mapping[int, Sequence[Floats]]  # by seed: frozen, with the latent losses and without
    latent: latent.Pairs  # what is asked of both in other ways
    shots: Sequence[Shots]
    course: Course | None
    tree_medians: Floats | None

    @classmethod
    def of(
        cls, arms: Sequence[Arms], choice: Choice, sizes: Sizes, *, only_kept: bool = False
    ) -> "Answers":
        """From every seed; `only_kept` leaves out what was not computed yet."""
        if only_kept:
            arms = [each for each in arms if each.has(*SAID)]
        said = said_by(arms, choice.frozen)
        said["joined"] = joined(said, choice.weights)
        beside = {}
        for name, (part, seeds) in _others(len(arms)).items():
            asked = [each for each in arms[:seeds] if each.has(part) or not only_kept]
            if len(asked) == seeds:
                found = [_logits(each, part, choice) for each in asked]
                beside[name] = np.mean(found, axis=0)
        both = [each for each in arms if each.has("grounding-frozen") or not only_kept]
        pairs = {
            each.seed: [each.frozen(arm)[choice.frozen] for arm in (latent.WITH, latent.WITHOUT)]
            for each in both
        }
        has_values = not only_kept or arms[0].parts.has(f"{arms[0].split.name}/tree-medians")
        return cls(
            seeds=tuple(each.seed for each in arms),
            said=said,
            beside=beside,
            pairs=pairs,
            latent=latent.pairs(both, choice.frozen, sizes.num_draws) if both else {},
            shots=[few_shot.shots(arms, size, sizes.num_draws) for size in few_shot.SIZES],
            course=mean_course(arms) if has_values else None,
            tree_medians=arms[0].tree_medians() if has_values else None,
        )


def mean_course(arms: Sequence[Arms]) -> Course:
    """What the networks of all seeds say of those asked about, on average."""
    courses = [each.course()[1] for each in arms]
    mean = np.mean([each.quantiles for each in courses], axis=0)
    return Course(courses[0].truth, courses[0].last, mean)


def _others(num_seeds: int) -> dict[str, tuple[str, int]]:
    """The part of each competitor, and of how many seeds it is the mean."""
    return {
        "supervised only": ("untrained-finetuned", num_seeds),
        "GRU-D": ("gru-d", num_seeds),
        "next-event transformer, frozen": ("next-event", 1),
        "untrained, frozen": ("untrained-frozen", num_seeds),
        "grounding only, frozen": ("grounding-frozen", num_seeds),
        "last value, age, sex": ("last-values", num_seeds),
    }


def _logits(arms: Arms, part: str, choice: Choice) -> Floats:
    match part:
        case "untrained-finetuned":
            return arms.finetuned("untrained")["hours"][:, -1]
        case "gru-d":
            return arms.gru_d()
        case "next-event":
            return arms.next_event()
        case "last-values":
            return arms.last_values()
        case _:
            return arms.frozen(part.removesuffix("-frozen"))[choice.frozen]
