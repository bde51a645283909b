"""Size classes of models, as the Relative Adoption Metric cuts them, with edges of our own where it states none.

Published: 1-9B, 10-30B, 31-100B, 100B+. A size is in thousand millions (B) of all parameters; what lies between two
printed edges (9.5B) belongs to the class below the next edge, so classes touch: [1, 10), [10, 31), [31, 100), [100, ...).
"""

from typing import Final

from archipel.observatory.rows import UNKNOWN

BILLION: Final = 10**9
CLASSES: Final = {
    "1-9B": (1 * BILLION, 10 * BILLION),
    "10-30B": (10 * BILLION, 31 * BILLION),
    "31-100B": (31 * BILLION, 100 * BILLION),
    "100B+": (100 * BILLION, None),
}
"""Name -> from, below; parameters."""


def size_class(params: int | str) -> str | None:
    """None: unknown, or smaller than the smallest class."""
    if params == UNKNOWN or not isinstance(params, int):
        return None
    for name, (least, below) in CLASSES.items():
        if params >= least and (below is None or params < below):
            return name
    return None
