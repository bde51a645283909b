"""A request's body out of its compression, within bounds however little came over the line."""

import zstandard

from archipel.door.wire.bounds import MAX_BODY_BYTES
from archipel.door.wire.errors import Refused

MAX_WINDOW_BYTES = 64 * 1024 * 1024
"""What a stream may make its reader remember."""


def unpacked(body: bytes, encoding: str) -> bytes:
    """The body itself.

    encoding: what the header Content-Encoding says; empty: none.

    Raises:
        Refused: `not_offered`: another compression than zstd; `too_large`; `malformed`: it is no zstd frame, or not a
            whole one.
    """
    coding = encoding.strip().lower()
    if coding in ("", "identity"):
        if len(body) > MAX_BODY_BYTES:
            raise _too_large(len(body))
        return body
    if coding != "zstd":
        raise Refused(
            "not_offered", f"a body in {coding!r:.40}; expected zstd, or no Content-Encoding"
        )
    return _decompressed(body)


def _decompressed(body: bytes) -> bytes:
    """One frame. What it says of its size is looked at before room is made; one that says nothing gets the bound."""
    try:
        said = zstandard.frame_content_size(body)
        if said > MAX_BODY_BYTES:
            raise _too_large(said)
        return zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompress(
            body, max_output_size=MAX_BODY_BYTES, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise Refused(
            "malformed",
            f"the body is no whole zstd frame of at most {MAX_BODY_BYTES} bytes ({error!s:.80}); send it again",
        ) from None


def _too_large(num_bytes: int) -> Refused:
    return Refused(
        "too_large", f"a body of {num_bytes} bytes; at most {MAX_BODY_BYTES}: send less at once"
    )
