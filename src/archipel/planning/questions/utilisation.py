"""What share of its peak an accelerator reaches in training: its kind, the model and the precision chosen.

What is computed stands in `sheets/utilisation.toml`.
"""

from dataclasses import dataclass

from archipel.planning.quantity import Quantity, pure
from archipel.planning.questions.sheet import Sheet
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

CHIPS = {
    "tpu": ("tpu",),
    "amd": ("mi", "rx7900"),
    "other": ("m1", "m2", "m3", "m4", "m5", "cpu", "ryzen", "dgx-spark", "gaudi", "trainium"),
}
"""Whose chip it is by how its kind begins; of `other` no training is documented, what is not here is NVIDIA's."""
RACKS = ("gb200", "gb300")
"""Kinds whose fast links reach through a rack."""


@dataclass(frozen=True)
class Work:
    """What a step works on: all parameters, those used per token, and tokens of one sequence."""

    params: Quantity
    active: Quantity
    sequence: Quantity


def chip_of(kind: str) -> str:
    """One of `CHIPS`, or gpu."""
    return next((chip for chip, starts in CHIPS.items() if kind.startswith(starts)), "gpu")


def linked(kind: str, mixture: bool) -> str:
    """Rack where experts are reached through a rack's fast links, else server."""
    return "rack" if mixture and kind in RACKS else "server"


def utilisation(kind: str, work: Work, shelf: Shelf) -> Sheet:
    """Of a step in bf16: `train.counted` with attention's arithmetic, `train.mfu` of 6ND alone."""
    mixture = Draws(count=1).centre(work.params / work.active) > 1.0
    words = {"kind": kind, "chip": chip_of(kind), "links": linked(kind, mixture)}
    given = {
        "job.params": work.params,
        "job.active": work.active,
        "job.sequence": work.sequence,
    }
    return Sheet("utilisation", shelf, words, given)


def usual_mfu(kind: str, params: tuple[float, float], shelf: Shelf) -> Quantity:
    """Of a step of a model of these parameters, in all and per token, on sequences of the usual length."""
    held, used = (pure(each, "param") for each in params)
    work = Work(held, used, shelf["utilisation.usual.sequence"])
    return utilisation(kind, work, shelf)["train.mfu"]
