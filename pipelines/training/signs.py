"""Numbers that tell a healthy representation from a collapsed, copied or trivial one.

Knows tensors of latents and who they belong to. Does not know models, limits or verdicts.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clinical.worldmodel.config import LossConfig
from clinical.worldmodel.regulariser import directions, sigreg, sigreg_null

_NUM_DRAWS = 32
_NUM_RESAMPLES = 400
_NUM_DISTRACTORS = 5
_RIDGES = (1.0, 10.0, 100.0, 1000.0)
_WITHIN_FLOOR = 1e-4


def rank(vectors: Float[Tensor, "n d"]) -> float:
    """Effective rank: exp of the entropy of the singular values (RankMe, Garrido et al. 2023)."""
    return _effective(torch.linalg.svdvals((vectors - vectors.mean(0)).double()))


def lidar(vectors: Float[Tensor, "n d"], cluster: Int[Tensor, " n"]) -> float:
    """Effective rank of what tells clusters apart, in units of what varies inside them.

    LiDAR (Thilak et al. 2023): of the eigenvalues of `W^(-1/2) B W^(-1/2)`, with `B` and `W` the
    covariances between and within clusters. Clusters of one member tell nothing and are left out.
    """
    sizes = torch.bincount(cluster)
    kept = sizes[cluster] > 1
    names, place = torch.unique(cluster[kept], return_inverse=True)
    rows = vectors[kept].double()
    counts = torch.bincount(place, minlength=len(names)).double()
    means = rows.new_zeros(len(names), rows.shape[1]).index_add(0, place, rows) / counts[:, None]
    apart, inside = means - means.mean(0), rows - means[place]
    within = inside.T @ inside / len(rows) + _WITHIN_FLOOR * torch.eye(rows.shape[1])
    values, axes = torch.linalg.eigh(within)
    whitened = apart @ (axes / values.sqrt())
    return _effective(torch.linalg.svdvals(whitened).square() / len(names))


def _effective(values: Tensor) -> float:
    share = values / values.sum().clamp(min=1e-12)
    return float((-(share * share.clamp(min=1e-12).log()).sum()).exp())


def nulls(
    latents: Float[Tensor, "n L"],
    owner: Int[Tensor, " n"],
    config: LossConfig,
    generator: torch.Generator,
) -> float:
    """SIGReg over its value for a Gaussian, one row drawn per owner: the mean over many draws."""
    found = 0.0
    for _ in range(_NUM_DRAWS):
        luck = torch.rand(len(owner), generator=generator)
        best = torch.zeros(int(owner.max()) + 1).scatter_reduce(0, owner, luck, reduce="amax")
        along = directions(latents.shape[1], config, generator)
        found += float(sigreg(latents[luck == best[owner]], along, config))
    return found / _NUM_DRAWS / sigreg_null(config)


def ridge(
    inputs: Float[Tensor, "n F"],
    targets: Float[Tensor, "n L"],
    owner: Int[Tensor, " n"],
    asked: Float[Tensor, "m F"],
) -> Float[Tensor, "m L"]:
    """Linear predictions for `asked`; the penalty is the one that does best on half of the owners."""
    mean, deviation = inputs.mean(0), inputs.std(0)
    deviation = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
    inputs, asked = (inputs - mean) / deviation, (asked - mean) / deviation
    is_first = owner % 2 == 0
    best = min(
        _RIDGES,
        key=lambda penalty: float(
            sum(
                (_ridge(inputs[fit], targets[fit], inputs[~fit], penalty) - targets[~fit])
                .square()
                .sum()
                for fit in (is_first, ~is_first)
            )
        ),
    )
    return _ridge(inputs, targets, asked, best)


def _ridge(inputs: Tensor, targets: Tensor, asked: Tensor, penalty: float) -> Tensor:
    if not len(inputs):
        return targets.new_zeros(len(asked), targets.shape[1])
    mean = targets.mean(0)
    gram = inputs.T @ inputs + penalty * torch.eye(inputs.shape[1])
    guess: Tensor = mean + asked @ torch.linalg.solve(gram, inputs.T @ (targets - mean))
    return guess


def lower_bound(
    numbers: Float[Tensor, " n"], owner: Int[Tensor, " n"], generator: torch.Generator
) -> float:
    """The lower end of the 95 % interval of a mean, by a bootstrap over owners."""
    num = int(owner.max()) + 1
    sums = torch.zeros(num).index_add(0, owner, numbers)
    counts = torch.zeros(num).index_add(0, owner, torch.ones_like(numbers))
    drawn = torch.randint(num, (_NUM_RESAMPLES, num), generator=generator)
    means = sums[drawn].sum(1) / counts[drawn].sum(1).clamp(min=1)
    return float(means.quantile(0.025))


def most_skill(
    own: Float[Tensor, " n"],
    baseline: Float[Tensor, " n"],
    owner: Int[Tensor, " n"],
    generator: torch.Generator,
) -> float:
    """The upper end of the 95 % interval of `1 - own / baseline`, errors summed, owners resampled."""
    num = int(owner.max()) + 1
    sums = torch.zeros(2, num).index_add(1, owner, torch.stack([own, baseline]))
    drawn = torch.randint(num, (_NUM_RESAMPLES, num), generator=generator)
    totals = sums[:, drawn].sum(-1)
    return float((1 - totals[0] / totals[1].clamp(min=1e-12)).quantile(0.975))


def own_to_nearest(
    guess: Float[Tensor, "n L"],
    target: Float[Tensor, "n L"],
    owner: Int[Tensor, " n"],
    alike: Float[Tensor, "n f"],
) -> float | None:
    """How far a forecast lies from its own future over how far from the nearest of five others'.

    The others are the most alike in `alike` (age, length of the record, utilisation, in standard
    deviations) among other owners. Below 1 a forecast is of this patient and not of such patients.
    None where there are too few others. Median over rows.
    """
    scaled = (alike - alike.mean(0)) / alike.std(0).clamp(min=1e-6)
    apart = torch.cdist(scaled, scaled)
    is_other = owner[:, None] != owner
    if int(is_other.sum(1).min()) < _NUM_DISTRACTORS:
        return None
    chosen = torch.where(is_other, apart, torch.inf).topk(_NUM_DISTRACTORS, largest=False).indices
    nearest = (guess[:, None] - target[chosen]).norm(dim=-1).amin(1)
    return float(((guess - target).norm(dim=1) / nearest.clamp(min=1e-6)).median())


def explained(guess: Float[Tensor, " n"], truth: Float[Tensor, " n"]) -> float:
    """The share of the variance of `truth` that `guess` takes away; below 0 where it adds to it."""
    return float(1 - (guess - truth).square().sum() / (truth - truth.mean()).square().sum())


def separation(score: Float[Tensor, " n"], had: Float[Tensor, " n"]) -> float | None:
    """AUROC by counting pairs, ties half; None where all had it or none."""
    yes, no = score[had > 0.5], score[had <= 0.5]
    if not len(yes) or not len(no):
        return None
    gap = yes[:, None] - no
    return float((gap > 0).float().mean() + 0.5 * (gap == 0).float().mean())


def straightness(states: Float[Tensor, "n d"], owner: Int[Tensor, " n"]) -> float | None:
    """The mean cosine between one step of an owner's path of states and the next; rows in order."""
    steps = states[1:] - states[:-1]
    is_step = owner[1:] == owner[:-1]
    is_pair = is_step[1:] & is_step[:-1]
    if not is_pair.any():
        return None
    cosine = torch.nn.functional.cosine_similarity(steps[1:], steps[:-1], dim=1)
    return float(cosine[is_pair].mean())
