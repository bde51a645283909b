"""Every value as it is: 4 bytes, little-endian."""

import numpy as np

from archipel.training.exchange.codec import MAX_MAGNITUDE, BadContribution
from archipel.training.exchange.table import num_values


class Float32:
    """The form of `float32`."""

    def size(self, shape: tuple[int, ...]) -> int:
        """See `Form`."""
        return 4 * num_values(shape)

    def write(self, values: np.ndarray, out: np.ndarray) -> None:
        """See `Form`."""
        out.view("<f4")[:] = values.reshape(-1)

    def read(
        self, data: np.ndarray, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Form`."""
        values = data.view("<f4").astype(np.float32)
        if not (values.min() >= -MAX_MAGNITUDE and values.max() <= MAX_MAGNITUDE):
            raise BadContribution("a value is not finite, or beyond 2^40")
        return values.reshape(shape), None
