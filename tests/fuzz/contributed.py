"""Readers of pseudo-gradients, which strangers send, and of the text that a merge was judged on."""

from functools import partial

import numpy as np

from archipel.training.exchange import BadContribution, Codec, CodecTerms, codec_of
from archipel.training.exchange.codec import HEADER
from archipel.training.merging.commitment import BadText, GateText, read_text
from fuzz.reading import Reader

SHAPES = {"a": (16, 24), "b.c": (9,)}
"""One tensor in tiles, one without, with an odd number of values."""
TERMS = {
    "as they are": CodecTerms("float32"),
    "in bytes": CodecTerms("int8"),
    "in four bits": CodecTerms("e3m0"),
    "of the largest": CodecTerms("top_k"),
}


def _tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(each).astype(np.float32) for name, each in SHAPES.items()}


def _body(codec: Codec, data: bytes) -> object:
    """With a sound header and of the right length, so that a reader comes to the tensors."""
    whole = codec.encode(_tensors())[: HEADER.size] + data
    size = codec.size(SHAPES)
    return codec.decode(whole[:size].ljust(size, b"\0"), SHAPES)


def readers() -> dict[str, Reader]:
    """Two for each codec, and one of held-out text."""
    text = GateText(bytes(32), np.array([[1, 2, 3], [4, 5, 6]])).to_bytes()
    found = {"gate texts": Reader(read_text, (text,), (BadText,))}
    for how, terms in TERMS.items():
        codec, errors = codec_of(terms), (BadContribution,)
        payload = codec.encode(_tensors())
        found[f"pseudo-gradients {how}"] = Reader(
            partial(codec.decode, shapes=SHAPES), (payload,), errors
        )
        found[f"tensors {how}"] = Reader(partial(_body, codec), (payload[HEADER.size :],), errors)
    return found
