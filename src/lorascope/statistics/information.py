"""How far two answers are apart, in nats."""

from __future__ import annotations

import numpy as np


def kl_divergence(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """KL(p ‖ q) = Σ p (log p - log q) in nats, of log probabilities [..., classes], [...]."""
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)
