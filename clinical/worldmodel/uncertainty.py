"""What is not known of a latent: what the heads do not agree on, and what they expect to miss.

Knows latents and variances per head. The first, the spread of the heads, is of too few patients like
this one (epistemic); the second, their mean variance, is of what the past does not determine
(aleatoric). Both are root mean squares over the numbers of a latent, and can be compared.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from clinical.worldmodel import objective
from clinical.worldmodel.ranks import ALONE, Ranks


def spread_of(latents: Float[Tensor, "*n K L"]) -> Float[Tensor, "*n"]:
    """The disagreement of the heads (epistemic)."""
    mean = latents.mean(-2, keepdim=True)
    spread: Tensor = (latents - mean).square().mean((-2, -1)).sqrt()
    return spread


def noise_of(variances: Float[Tensor, "*n K"]) -> Float[Tensor, "*n"]:
    """What the heads expect to miss (aleatoric), from each head's mean variance."""
    noise: Tensor = variances.mean(-1).sqrt()
    return noise


def beta_nll(
    mean: Float[Tensor, "*n"],
    variance: Float[Tensor, "*n"],
    target: Float[Tensor, "*n"],
    beta: float,
) -> Float[Tensor, "*n"]:
    """The Gaussian negative log-likelihood weighted by `variance ** beta` (Seitzer et al. 2022).

    The weight carries no gradient. At 0 it is the likelihood, which neglects the mean where the
    variance is large; at 1 the mean learns as under the squared error.
    """
    likelihood = ((target - mean) ** 2 / variance + variance.log()) / 2
    return variance.detach() ** beta * likelihood


def variance_loss(
    latents: Float[Tensor, "Q H K L"],
    variances: Float[Tensor, "Q H K L"],
    targets: Float[Tensor, "Q H L"],
    is_target: Bool[Tensor, "Q H"],
    weights: Float[Tensor, "Q K"],
    beta: float,
    ranks: Ranks = ALONE,
) -> Float[Tensor, ""]:
    """How badly each head said how far it would miss, weighted by its bootstrap.

    The targets learn nothing from it: they would grow easy to foretell rather than rich.
    """
    aimed = targets.detach()[:, :, None].expand_as(latents)
    losses = beta_nll(latents, variances, aimed, beta).mean(-1)
    counted = is_target[..., None].expand_as(losses)
    return objective.masked_mean(losses * weights[:, None], counted, ranks)
