"""What a model is given to read, in chunks: text as tokens; images and sound are refused.

Parts: `Chunk` (in JSON), `tokens_of` (of either form).
"""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from archipel.door.wire import bounds
from archipel.door.wire.errors import Refused
from archipel.door.wire.reading import Body, TokenIds
from archipel.door.wire.tensors import Array, token_ids


class Chunk(Body):
    """Clients before 0.22 leave the type of a chunk out where it is text."""

    type: Literal["encoded_text", "image", "image_asset_pointer", "dmel"] = "encoded_text"
    tokens: TokenIds | None = None


def tokens_of(chunks: Iterable[Any], name: str) -> Array:
    """int32, one-dimensional: all chunks one after another; name: what they are, for the sentence.

    Raises:
        Refused: `not_offered`: images, sound; `impossible`: no tokens; `too_large`.
    """
    found = [np.zeros(0, np.int32)]
    num_tokens = 0
    for place, chunk in enumerate(chunks):
        if place >= bounds.MAX_CHUNKS:
            raise Refused("too_large", f"{name} has more than {bounds.MAX_CHUNKS} chunks")
        found.append(_tokens(chunk, name))
        num_tokens += len(found[-1])
        if num_tokens > bounds.MAX_TOKENS_PER_DATUM:
            raise Refused(
                "too_large", f"{name} has more than {bounds.MAX_TOKENS_PER_DATUM} tokens; cut it"
            )
    tokens = np.concatenate(found)
    if num_tokens and int(tokens.min()) < 0:
        raise Refused("impossible", f"{name} has the token {int(tokens.min())}; expected 0 and up")
    return tokens


def _tokens(chunk: Any, name: str) -> Array:
    kind = chunk.type if isinstance(chunk, Chunk) else chunk.WhichOneof("chunk")
    if kind != "encoded_text":
        raise Refused(
            "not_offered",
            f"{name} has a chunk that is {kind or 'empty'}; this door reads encoded_text alone",
        )
    if not isinstance(chunk, Chunk):
        return token_ids(chunk.encoded_text.tokens, name)
    if chunk.tokens is None:
        raise Refused("impossible", f"{name} has a chunk of text without tokens; send them")
    return np.array(chunk.tokens, dtype=np.int32)
