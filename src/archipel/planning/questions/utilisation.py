"""What share of its peak an accelerator reaches in training: its kind, the model and the precision chosen.

What is computed stands in `sheets/utilisation.toml`.
"""

from archipel.planning.quantity import Quantity
from archipel.planning.questions.sheet import Sheet
from archipel.planning.tables import Shelf

CHIPS = (("tpu", "tpu"), ("mi", "amd"), ("rx7900", "amd"), ("ryzen", "amd"))
"""Beginnings of names, and whose chip it is; all others are taken as NVIDIA's, on whom most is documented."""
RACKS = ("gb200", "gb300")
"""Kinds whose fast links reach through a rack."""


def chip_of(kind: str) -> str:
    """tpu, amd or gpu."""
    return next((chip for start, chip in CHIPS if kind.startswith(start)), "gpu")


def linked(kind: str, mixture: bool) -> str:
    """Rack where experts are reached through a rack's fast links, else server."""
    return "rack" if mixture and kind in RACKS else "server"


def utilisation(
    kind: str, params: Quantity, active: Quantity, attention: Quantity, shelf: Shelf
) -> dict[str, Quantity]:
    """Of a step in bf16: `step.counted` with attention's arithmetic, `train.mfu` of 6ND alone."""
    mixture = params is not active
    words = {"kind": kind, "chip": chip_of(kind), "links": linked(kind, mixture)}
    given = {"job.params": params, "job.active": active, "job.attention": attention}
    sheet = Sheet("utilisation", shelf, words, given)
    return {name: sheet[name] for name in ("train.counted", "train.mfu")}
