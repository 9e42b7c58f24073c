"""What keeps latents spread out: SIGReg, the same inside subspaces, and VICReg's two terms.

Knows latents as samples. Everything is computed in float32, also amid autocast, and over the rows
of all ranks together.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from clinical.worldmodel.config import LossConfig, Regulariser
from clinical.worldmodel.ranks import ALONE, Ranks

_VARIANCE_EPSILON = 1e-4


def knots(config: LossConfig) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Quadrature points on [0, limit] and their trapezoid weights, doubled for the negative half."""
    points = torch.linspace(0.0, config.knot_limit, config.num_knots)
    weights = torch.full_like(points, 2 * config.knot_limit / (config.num_knots - 1))
    weights[0] /= 2
    weights[-1] /= 2
    return points, weights


def directions(
    width: int, config: LossConfig, generator: torch.Generator, ranks: Ranks = ALONE
) -> Float[Tensor, "L M"]:
    """Random unit vectors, one per column, the same on every rank.

    The mean of Gaussian draws points nowhere in particular, as each of them does.
    """
    drawn = torch.randn(width, config.num_directions, generator=generator, device=generator.device)
    drawn = ranks.mean(drawn)
    unit: Tensor = drawn / drawn.norm(dim=0, keepdim=True)
    return unit


def sigreg(
    latents: Float[Tensor, "n L"],
    along: Float[Tensor, "L M"],
    config: LossConfig,
    ranks: Ranks = ALONE,
) -> Float[Tensor, ""]:
    """How far latents are from a standard Gaussian (SIGReg: Balestriero & LeCun 2025).

    The mean over directions of the Epps–Pulley statistic (1983)
    `n * integral |mean exp(i t x) - exp(-t²/2)|² exp(-t²/2) dt` over [-limit, limit], of the rows
    of all ranks together. Computed in float32, also amid autocast.
    """
    with torch.autocast(latents.device.type, enabled=False):
        points, weights = (part.to(latents.device) for part in knots(config))
        angles = (latents.float() @ along)[..., None] * points
        gaussian = (-(points**2) / 2).exp()
        real, imaginary = ranks.mean_row(angles.cos()), ranks.mean_row(angles.sin())
        gap = (real - gaussian) ** 2 + imaginary**2
        num = ranks.rows(len(latents), latents)
        statistic: Tensor = num * (gap * gaussian * weights).sum(-1).mean()
    return statistic


def sigreg_null(config: LossConfig) -> float:
    """What `sigreg` is on average for samples that are Gaussian, whatever their number.

    `E |mean exp(itx) - exp(-t²/2)|² = (1 - exp(-t²)) / n` for n standard normal x.
    """
    points, weights = knots(config)
    gaussian = (-(points**2) / 2).exp()
    return float(((1 - gaussian**2) * gaussian * weights).sum())


def subspaces(
    width: int, config: LossConfig, generator: torch.Generator, ranks: Ranks = ALONE
) -> Float[Tensor, "k L d"]:
    """Orthonormal bases of random subspaces, the same on every rank.

    Blocks of uniformly random rotations (Stewart 1980): as many as fit are orthogonal to each other.
    """
    dimension = min(config.subspace_width, width)
    per_rotation = width // dimension
    num = -(-config.num_subspaces // per_rotation)
    drawn = torch.randn(num, width, width, generator=generator, device=generator.device)
    turned, upper = torch.linalg.qr(ranks.mean(drawn))
    turned = turned * upper.diagonal(dim1=-2, dim2=-1).sign()[:, None]
    blocks = turned[:, :, : per_rotation * dimension].reshape(num, width, per_rotation, dimension)
    result: Tensor = blocks.transpose(1, 2).flatten(0, 1)[: config.num_subspaces]
    return result


def subspace_directions(
    bases: Float[Tensor, "k L d"], along: Float[Tensor, "d M"]
) -> Float[Tensor, "L kM"]:
    """The directions `along` of each subspace as directions of the whole space.

    A projection onto a direction of a subspace is one onto a direction of the space, so that the
    statistic in every subspace is `sigreg` along these.
    """
    return (bases @ along).transpose(0, 1).flatten(1)


def variance_term(latents: Float[Tensor, "n L"], ranks: Ranks = ALONE) -> Float[Tensor, ""]:
    """VICReg's hinge on every dimension's deviation: `mean_j max(0, 1 - sqrt(Var z_j + 1e-4))`.

    Bardes, Ponce & LeCun 2022, equation 1; the variance is the unbiased one. Fewer than two rows: 0.
    """
    with torch.autocast(latents.device.type, enabled=False):
        covariance = _covariance(latents.float(), ranks)
        deviation = (covariance.diagonal() + _VARIANCE_EPSILON).sqrt()
        hinge: Tensor = (1 - deviation).clamp(min=0.0).mean()
    return hinge


def covariance_term(latents: Float[Tensor, "n L"], ranks: Ranks = ALONE) -> Float[Tensor, ""]:
    """VICReg's sum of squared covariances between dimensions, over their number (equation 4)."""
    with torch.autocast(latents.device.type, enabled=False):
        covariance = _covariance(latents.float(), ranks)
        apart = covariance - covariance.diagonal().diag()
        term: Tensor = apart.square().sum() / latents.shape[1]
    return term


def _covariance(latents: Float[Tensor, "n L"], ranks: Ranks) -> Float[Tensor, "L L"]:
    centred = latents - ranks.mean_row(latents)
    num = ranks.rows(len(latents), latents)
    products = ranks.mean(centred.mT @ centred) * ranks.number
    return products / (num - 1).clamp(min=1.0)


class Spread:
    """The configured regulariser with its random directions drawn, the same for every group of rows."""

    def __init__(
        self, width: int, config: LossConfig, generator: torch.Generator, ranks: Ranks = ALONE
    ) -> None:
        self._config, self._ranks = config, ranks
        if config.kind is Regulariser.SIGREG:
            self._along = directions(width, config, generator, ranks)
        elif config.kind is Regulariser.SUBSPACE:
            bases = subspaces(width, config, generator, ranks)
            inside = directions(bases.shape[2], config, generator, ranks)
            self._along = subspace_directions(bases, inside)

    def __call__(self, latents: Float[Tensor, "n L"]) -> Float[Tensor, ""]:
        """How badly these rows are spread; 0 where nothing is asked of them."""
        if self._config.kind is Regulariser.NONE:
            return latents.new_zeros(())
        if self._config.kind is Regulariser.VICREG:
            covariance = self._config.covariance * covariance_term(latents, self._ranks)
            return variance_term(latents, self._ranks) + covariance
        return sigreg(latents, self._along, self._config, self._ranks)
