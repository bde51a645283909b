"""Tables of tensors and pseudo-gradients for them, of every kind that a codec may meet."""

from collections.abc import Iterator

import numpy as np

from archipel.training.exchange import Codec, CodecTerms, codec_of

CODECS = tuple(
    codec_of(terms)
    for terms in (
        CodecTerms("float32"),
        CodecTerms("int8"),
        CodecTerms("e3m0"),
        CodecTerms("top_k"),
        CodecTerms("top_k", kept=190),
    )
)
SHAPES = {
    "model.embed.weight": (96, 70),
    "model.layers.0.down.weight": (64, 192),
    "model.layers.0.norm.weight": (71,),
    "model.layers.1.experts.weight": (2, 32, 48),
    "model.layers.1.small.weight": (3, 5),
    "scale": (),
}
"""With tiles of 1680, 4096 and 3072 values, and without; an odd number of values; rows shorter and longer than 64."""


def named(codec: Codec) -> str:
    """For the name of a test."""
    return f"{codec.terms.name}-{codec.terms.kept}"


def drawn(seed: int, shapes: dict[str, tuple[int, ...]] = SHAPES) -> dict[str, np.ndarray]:
    """Small normal values with a few large ones, as training makes them."""
    rng = np.random.default_rng(seed)
    return {
        name: np.asarray(rng.standard_normal(shape) ** 3 * 1e-3, np.float32)
        for name, shape in shapes.items()
    }


def kinds(seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Ordinary ones, and those at the edges: zero, equal, in ties, sparse, tiny, as large as may be, of one sign."""
    sound = drawn(seed)
    rng = np.random.default_rng(seed)
    yield sound
    for change in (
        lambda values: values * 0,
        lambda values: values * 0 - 2.5,
        lambda values: np.rint(values * 500),
        lambda values: values * (rng.random(values.shape) < 0.01),
        lambda values: values * 1e-38,
        lambda values: values / np.abs(values).max() * 2.0**40,
        np.abs,
    ):
        yield {name: np.asarray(change(values), np.float32) for name, values in sound.items()}
