"""Boosted trees: the bar. One configuration, that of the design; everything else is what they are given."""

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from pipelines.evaluation.figures import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeConfig:
    """Sizes of an ensemble; the defaults are those of `06` §3: 400 trees of 15 leaves at rate 0.03."""

    num_trees: int = 400
    max_leaves: int = 15
    rate: float = 0.03
    min_leaf: int = 20
    share_of_columns: float = 1.0
    l2: float = 0.0


def risk_logits(
    features: Floats,
    had: Floats,
    asked: Floats,
    *,
    seed: int = 0,
    config: TreeConfig | None = None,
) -> Floats:
    """Log odds for the rows of `asked`, from trees fitted to `features` and whether each row `had` it."""
    config = config or TreeConfig()
    model = HistGradientBoostingClassifier(**_sizes(config), random_state=seed)
    model.fit(features, had > 0)
    logits: Floats = np.asarray(model.decision_function(asked), dtype=np.float64)
    return logits


def quantities(
    features: Floats,
    values: Floats,
    asked: Floats,
    *,
    level: float = 0.5,
    seed: int = 0,
    config: TreeConfig | None = None,
) -> Floats:
    """The quantile `level` (the median where none is named) of a value for the rows of `asked`."""
    config = config or TreeConfig()
    model = HistGradientBoostingRegressor(
        loss="quantile", quantile=level, **_sizes(config), random_state=seed
    )
    model.fit(features, values)
    found: Floats = np.asarray(model.predict(asked), dtype=np.float64)
    return found


def _sizes(config: TreeConfig) -> dict[str, float | int | bool]:
    return {
        "max_iter": config.num_trees,
        "max_leaf_nodes": config.max_leaves,
        "learning_rate": config.rate,
        "min_samples_leaf": config.min_leaf,
        "max_features": config.share_of_columns,
        "l2_regularization": config.l2,
        "early_stopping": False,
    }
