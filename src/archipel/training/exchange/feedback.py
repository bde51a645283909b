"""Error feedback: what a payload could not say is carried into the next one.

Law: carried = decay x residual + delta, and the new residual = carried - decoded, each operation in float32; at a
decay of 1, all that was ever decoded and the residual add up to all deltas. Whoever joins or begins anew has none.
(SparseLoCo, arXiv 2508.15706; needed where few values are sent, not by `int8` and `e3m0`.)
"""

import numpy as np

from archipel.training.exchange.codec import CannotEncode, Codec, Tensors, shapes_of


def with_feedback(
    residual: Tensors | None, delta: Tensors, codec: Codec, decay: float
) -> tuple[bytes, dict[str, np.ndarray]]:
    """The payload of `delta` with what is left from before, and what is left now.

    residual: float32 of the shapes of `delta`, from the call before; None: nothing is left.
    decay: share of the residual that is carried, above 0, at most 1.

    Raises:
        CannotEncode: see `Codec.encode`; or the residual is of other tensors.
        BadTable: shapes beyond the bounds.
    """
    shapes = shapes_of(delta)
    if residual is None:
        carried = dict(delta)
    elif shapes_of(residual) == shapes:
        share = np.float32(decay)
        carried = {name: share * residual[name] + delta[name] for name in delta}
    else:
        raise CannotEncode("the residual is of other tensors: begin this run's residual anew")
    payload = codec.encode(carried)
    said = codec.decode(payload, shapes).values
    return payload, {name: carried[name] - said[name] for name in carried}
