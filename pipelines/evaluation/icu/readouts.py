"""Readouts of a frozen state: a weighted sum, or boosted trees over it beside the summaries."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from pipelines.evaluation.figures import Floats

STRENGTH = 0.01
"""Inverse of the ridge penalty of a probe fitted to thousands of stays."""


def probe_logits(
    features: Floats, had: Floats, asked: Floats, strength: float = STRENGTH
) -> Floats:
    """Log odds from a ridge logistic regression on standardised columns; nan counts as the mean."""
    # A column without any value says nothing.
    is_said = np.isfinite(features).any(axis=0)
    features, asked = features[:, is_said], asked[:, is_said]
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=strength, max_iter=2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(_filled(scaler.transform(features)), had > 0)
    logits: Floats = np.asarray(
        model.decision_function(_filled(scaler.transform(asked))), dtype=np.float64
    )
    return logits


def _filled(columns: Floats) -> Floats:
    return np.clip(np.nan_to_num(columns), -8.0, 8.0)


def platt(logits: Floats, had: Floats) -> tuple[float, float]:
    """Slope and intercept that turn out-of-fold log odds into calibrated ones (Platt 1999)."""
    model = LogisticRegression(C=1e6, max_iter=1000).fit(logits[:, None], had > 0)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def joining_weights(logits: Floats, had: Floats) -> tuple[Floats, float]:
    """Weights of several readouts' log odds, none below 0, and an intercept: a logistic stack.

    A readout that would get a negative weight is left out and the others are weighed again.
    """
    kept = list(range(logits.shape[1]))
    while True:
        model = LogisticRegression(C=10.0, max_iter=1000).fit(logits[:, kept], had > 0)
        weights = model.coef_[0]
        if (weights >= 0).all() or len(kept) == 1:
            break
        kept.remove(kept[int(weights.argmin())])
    full = np.zeros(logits.shape[1])
    full[kept] = weights
    return full, float(model.intercept_[0])
