"""The random choices of one training step: what is hidden, which head speaks, which row is regularised.

Knows who draws what from the step's generator, and how a lesson that is part of a larger one draws as
the whole would, so that a batch split over processes is spoiled like the batch in one piece. Does not
know what the choices are for.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clinical.worldmodel.batch import TimelineBatch

# Constants of SplitMix64 (Steele, Lea & Flood 2014), as signed numbers.
_STEP, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


@dataclass(frozen=True, slots=True)
class Part:
    """Which questions of a larger lesson these are, and the first question of each timeline."""

    question: Int[Tensor, " Q"]
    first_question: Int[Tensor, " B"]
    num_questions: int

    def to(self, device: str | torch.device) -> "Part":
        """The same part on another device."""
        question, first = self.question.to(device), self.first_question.to(device)
        return Part(question, first, self.num_questions)


@dataclass(frozen=True, slots=True)
class Luck:
    """Uniform numbers in [0, 1) for a lesson; of a part, those that the whole lesson would draw.

    The whole of a part is drawn in full each time, so that every process leaves `generator` alike.
    """

    generator: torch.Generator
    part: Part | None = None

    def questions(self, num: int, *more: int) -> Float[Tensor, " Q *m"]:
        """Some for every question."""
        if self.part is None:
            return self._uniform(num, *more)
        return self._uniform(self.part.num_questions, *more)[self.part.question]

    def heads(self, num: int, num_heads: int) -> Int[Tensor, " Q"]:
        """A head for every question."""
        asked = num if self.part is None else self.part.num_questions
        drawn = torch.randint(
            num_heads, (asked,), generator=self.generator, device=self.generator.device
        )
        return drawn if self.part is None else drawn[self.part.question]

    def cells(
        self, question: Int[Tensor, " n"], horizon: Int[Tensor, " n"], num_horizons: int
    ) -> Float[Tensor, " n"]:
        """One for every listed window of a question."""
        if self.part is None:
            return self._uniform(len(question))
        drawn = self._uniform(self.part.num_questions, num_horizons)
        return drawn[self.part.question[question], horizon]

    def timelines(self, batch: TimelineBatch) -> Float[Tensor, " B1"]:
        """One for every timeline, and one for what belongs to none."""
        if self.part is None:
            return self._uniform(batch.num_timelines + 1)
        drawn = self._uniform(self.part.num_questions + 1)
        return torch.cat([drawn[self.part.first_question], drawn[-1:]])

    def events(self, batch: TimelineBatch) -> Float[Tensor, " N"]:
        """One for every event; of a part, from the timeline's own number and the event's place in it."""
        device = self.generator.device
        if self.part is None:
            return self._uniform(len(batch.event_concept))
        keys = torch.randint(
            2**62, (self.part.num_questions,), generator=self.generator, device=device
        )
        sizes = torch.tensor(batch.num_events, device=device)
        row = torch.arange(len(sizes), device=device).repeat_interleave(sizes)
        place = torch.arange(len(row), device=device) - (sizes.cumsum(0) - sizes)[row]
        return mixed(keys[self.part.first_question][row] + _STEP * (place + 1))

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.generator.device)


def mixed(number: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Numbers in [0, 1) that look independent: the finaliser of SplitMix64, its upper 24 bits."""
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        number = (number ^ _shifted(number, shift)) * factor
    number = number ^ _shifted(number, 31)
    return _shifted(number, 40).float() / 2**24


def _shifted(number: Int[Tensor, " n"], by: int) -> Int[Tensor, " n"]:
    """To the right, zeros coming in: torch's own shift keeps the sign."""
    return (number >> by) & ((1 << (64 - by)) - 1)
