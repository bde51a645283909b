"""Terms, windows and weights of a few numbers, for the tests of inner steps."""

import numpy as np

from archipel.training.inner.terms import InnerTerms
from training.tiny_learner import VOCAB, tiny_model

LENGTH, BATCH = 6, 4


def tiny_terms(**changes) -> InnerTerms:
    fields = {
        "total_steps": 12,
        "batch": BATCH,
        "sequence_length": LENGTH,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
    }
    return InnerTerms(**fields | changes)


def tiny_windows(step: int):
    """Of two documents each, but for one window."""
    source = np.random.default_rng(step)
    tokens = source.integers(0, VOCAB, (BATCH, LENGTH + 1)).astype(np.int32)
    cuts = source.integers(1, LENGTH + 1, (BATCH, 1))
    cuts[0] = LENGTH + 1
    return tokens, (np.arange(LENGTH + 1) >= cuts).astype(np.int32)


def windows_from(first: int):
    """Of the run's inner steps from `first` on, without end."""
    while True:
        yield tiny_windows(first)
        first += 1


def tiny_base(seed: int = 3) -> dict[str, np.ndarray]:
    return {n: p.detach().numpy().copy() for n, p in tiny_model(seed).named_parameters()}


def following(base, trained):
    """The version that one contribution alone makes, with an outer rate of 1."""
    return {name: base[name] - trained.delta[name] for name in base}


def same(ours, theirs) -> bool:
    """Bit for bit."""
    return ours.keys() == theirs.keys() and all(
        ours[name].tobytes() == theirs[name].tobytes() for name in ours
    )
