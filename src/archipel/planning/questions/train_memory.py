"""How a model is spread over accelerators of one kind while it trains, and what one of them then holds.

What is computed stands in `sheets/memory.toml`; here is the choice of tensor parallel and of what is computed again.
"""

import math

from archipel.planning.laws import memory
from archipel.planning.mistakes import Conflict
from archipel.planning.questions.bounds import PARTS, bounded
from archipel.planning.questions.sheet import Sheet
from archipel.planning.questions.train_asked import Asked, centre
from archipel.planning.questions.ways import ways
from archipel.planning.tables import Shelf

AGAIN = {"none": "all kept", "selective": "selective recomputation", "full": "recomputed"}


def server_of(kind: str, shelf: Shelf) -> int:
    """Accelerators in one server, at least one."""
    return max(1, round(centre(shelf[f"accelerator.{kind}.server_size"])))


def held_by(run: Sheet, asked: Asked, kind: str, most: float = math.inf) -> Sheet:
    """What one accelerator of a kind holds; layers are cut into at most `most` parts."""
    tensor, mode = _layout(run, asked, kind, most)
    if most < tensor:
        raise Conflict(
            f"--tensor-parallel {tensor} and --count {most:g}: a layer cannot be "
            "cut into more parts than there are accelerators; lower one or raise the other"
        )
    given = {name: run[name] for name in _MODEL}
    words = {"kind": kind, "tensor": str(tensor), "zero": asked.request.zero, "recompute": mode}
    words |= {"again": AGAIN[mode]} | ways("memory", {f"zero{asked.request.zero}"})
    return Sheet("memory", asked.shelf, words, given)


_MODEL = (
    "train.params",
    "size.active",
    "train.accelerators",
    "train.sequence",
    "train.micro_batch",
)


def _layout(run: Sheet, asked: Asked, kind: str, most: float) -> tuple[int, memory.Recompute]:
    """Tensor parallel and what is computed again: as asked, or the mildest whose activations fit in half."""
    modes = [mode for mode in _MODES if mode == asked.request.recompute] or list(_MODES[:2])
    if asked.request.tensor_parallel:
        tensors = [int(bounded(asked.request.tensor_parallel, PARTS, "--tensor-parallel"))]
    else:
        widest = int(min(server_of(kind, asked.shelf), 8, most))
        tensors = [2**k for k in range(widest.bit_length()) if 2**k <= widest]
    room = centre(asked.shelf[f"accelerator.{kind}.memory"].to("byte/accelerator")) / 2.0
    active, *usual = (centre(run[name]) for name in ("size.active", *_SHAPE))
    shape = memory.shape_of(active, *usual)
    sequence, batch = (centre(run[name]) for name in ("train.sequence", "train.micro_batch"))
    tried = [(tensor, mode) for mode in modes for tensor in tensors]
    for tensor, mode in tried:
        if memory.activations(shape, sequence, batch, memory.Split(1.0, tensor), mode) < room:
            return tensor, mode
    return tried[-1]


_MODES: tuple[memory.Recompute, ...] = ("selective", "full", "none")
_SHAPE = tuple(f"train.shape.{part}" for part in ("width_per_layer", "head_width", "vocabulary"))
