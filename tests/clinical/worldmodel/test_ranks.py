"""Losses split over ranks: their average, and its gradients, are those of the whole batch."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from clinical.worldmodel.config import LossConfig
from clinical.worldmodel.objective import Projector, latent_loss, masked_mean
from clinical.worldmodel.randomness import initialise
from clinical.worldmodel.ranks import ALONE, Ranks
from clinical.worldmodel.regulariser import directions, sigreg
from tests.clinical.worldmodel.conftest import SMALL

CONFIG = LossConfig(num_directions=16)


class Meeting:
    """Ranks as threads of one process: each waits for what the others bring, then takes the mean."""

    def __init__(self, number: int) -> None:
        self.barrier = threading.Barrier(number)
        self.brought: list[Tensor | None] = [None] * number

    def ranks(self, place: int) -> Ranks:
        def mean(values: Tensor) -> Tensor:
            self.brought[place] = values
            self.barrier.wait()
            result = torch.stack([part for part in self.brought if part is not None]).mean(0)
            self.barrier.wait()
            return result

        return Ranks(mean, len(self.brought))

    def together(self, work: Callable[[int, Ranks], Tensor]) -> list[Tensor]:
        """What each rank computes."""
        results: dict[int, Tensor] = {}

        def one(place: int) -> None:
            results[place] = work(place, self.ranks(place))

        threads = [
            threading.Thread(target=one, args=(place,)) for place in range(len(self.brought))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [results[place] for place in sorted(results)]


def pieces(rows: Tensor) -> list[Tensor]:
    """Unequal parts, one of them of a single row."""
    return [rows[:20], rows[20:21], rows[21:]]


def compared(split: Callable[[Tensor, int, Ranks], Tensor], rows: Tensor, whole: Tensor) -> None:
    """The average over ranks of `split` equals `whole`, with the same gradients of `rows`."""
    (expected,) = torch.autograd.grad(whole, rows, retain_graph=True)
    found = Meeting(3).together(lambda place, ranks: split(pieces(rows)[place], place, ranks))
    average = torch.stack(found).mean()
    torch.testing.assert_close(average, whole, atol=1e-6, rtol=1e-6)
    (gradient,) = torch.autograd.grad(average, rows)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)


@pytest.fixture
def rows() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return (torch.randn(50, SMALL.latent, generator=generator) * 1.7 + 0.4).requires_grad_()


def test_sigreg_over_ranks_is_that_of_all_rows(rows: Tensor):
    along = directions(SMALL.latent, CONFIG, torch.Generator().manual_seed(0))
    compared(
        lambda part, _, ranks: sigreg(part, along, CONFIG, ranks), rows, sigreg(rows, along, CONFIG)
    )


def test_means_over_ranks_weigh_every_counted_row_alike(rows: Tensor):
    is_counted = rows.detach() > 0.5
    masks = pieces(is_counted)
    compared(
        lambda part, place, ranks: masked_mean(part.square(), masks[place], ranks),
        rows,
        masked_mean(rows.square(), is_counted),
    )


def test_the_latent_loss_over_ranks_weighs_every_draw_alike(rows: Tensor):
    weights = torch.poisson(torch.ones(50, 2), generator=torch.Generator().manual_seed(1))
    shares, target = pieces(weights), torch.zeros(1, SMALL.latent)
    compared(
        lambda part, place, ranks: latent_loss(
            part[:, None].expand(-1, 2, -1), target.expand(len(part), -1), shares[place], ranks
        ),
        rows,
        latent_loss(rows[:, None].expand(-1, 2, -1), target.expand(50, -1), weights),
    )


def projector() -> Projector:
    made = Projector(SMALL)
    initialise(made, torch.Generator().manual_seed(2))
    return made.train()


def test_the_projector_norms_by_the_statistics_of_all_ranks(rows: Tensor):
    alone, split = projector(), [projector() for _ in range(3)]
    whole, whole_predicted = alone(rows, rows * 0.5)
    found = Meeting(3).together(
        lambda place, ranks: torch.cat(
            split[place](pieces(rows)[place], pieces(rows)[place] * 0.5, ranks)
        )
    )
    targets = torch.cat([part[: len(part) // 2] for part in found])
    predicted = torch.cat([part[len(part) // 2 :] for part in found])
    torch.testing.assert_close(targets, whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(predicted, whole_predicted, atol=1e-5, rtol=1e-5)
    for one in split:
        torch.testing.assert_close(one.norm.running_mean, alone.norm.running_mean)
        torch.testing.assert_close(one.norm.running_var, alone.norm.running_var)


def test_every_rank_looks_along_the_same_directions():
    generators = [torch.Generator().manual_seed(place) for place in range(3)]
    found = Meeting(3).together(
        lambda place, ranks: directions(9, CONFIG, generators[place], ranks)
    )
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert torch.allclose(found[0].norm(dim=0), torch.ones(CONFIG.num_directions))


def test_a_rank_without_rows_spoils_nothing(rows: Tensor):
    along = directions(SMALL.latent, CONFIG, torch.Generator().manual_seed(0))
    parts = [rows, rows[:0]]
    found = Meeting(2).together(lambda place, ranks: sigreg(parts[place], along, CONFIG, ranks))
    for one in found:
        torch.testing.assert_close(one, sigreg(rows, along, CONFIG, ALONE))
