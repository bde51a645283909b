"""What members of a run send each other: pseudo-gradients as bytes, and what is left of them.

Reading order: `table` (which tensors), `codec` (a payload), `float32`, `int8`, `e3m0`, `top_k` (how one tensor is written;
`tiles`, `ascending` and `bits` below them), `feedback` (what was not sent), `fragments` (which weights go together).
Law: numpy alone, no tensor library; no clock, no disk, no chance.
"""

from archipel.training.exchange.codec import (
    BadContribution,
    CannotEncode,
    Codec,
    CodecTerms,
    Form,
)
from archipel.training.exchange.e3m0 import E3m0
from archipel.training.exchange.feedback import with_feedback
from archipel.training.exchange.float32 import Float32
from archipel.training.exchange.fragments import fragments
from archipel.training.exchange.int8 import Int8
from archipel.training.exchange.top_k import TopK


def codec_of(terms: CodecTerms) -> Codec:
    """The codec that a run's terms name."""
    return Codec(terms, _form_of(terms))


def _form_of(terms: CodecTerms) -> Form:
    if terms.name == "float32":
        return Float32()
    if terms.name == "int8":
        return Int8()
    return E3m0() if terms.name == "e3m0" else TopK(terms.kept)


__all__ = [
    "CodecTerms",
    "codec_of",
    "Codec",
    "BadContribution",
    "CannotEncode",
    "with_feedback",
    "fragments",
]
