"""`plan serve`, several accelerators: one stream over layers or over tensors.

Split by layers, the accelerators take turns: one stream is as fast as on one of them that would hold the model.
Split by tensors, all work on every layer at once, at a share of their sum that the link decides.
"""

from archipel.planning.mistakes import Conflict, nearest
from archipel.planning.quantity import Quantity, given
from archipel.planning.requests.serve import ServeRequest
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.units import amount

SPLITS = ("layers", "tensor")


def split_of(kind: str, request: ServeRequest, shelf: Shelf) -> str:
    """`layers` or `tensor`: as asked, or by the link; empty for one accelerator.

    Raises:
        Conflict: a split of one accelerator; UnknownName: neither of the two.
    """
    word = request.split.strip().casefold()
    if word and word not in SPLITS:
        raise nearest(request.split, SPLITS, "split (--split)")
    if amount(request.accelerators, "accelerator", "--accelerators") <= 1:
        if word:
            raise Conflict("--split needs several --accelerators; drop it, or ask for 2 or more")
        return ""
    return word or ("tensor" if _fast(kind, shelf) else "layers")


def together_of(kind: str, count: Quantity, request: ServeRequest, shelf: Shelf) -> Quantity:
    """Speed of one stream over the sum of what the accelerators could do."""
    way = split_of(kind, request, shelf)
    if not way:
        return given("own.alone", 1, "1", "one accelerator", "nothing is lost to working together")
    if way == "tensor":
        return shelf["serve.parallel_share" if _fast(kind, shelf) else "serve.split.slow_share"]
    one = given("", 1, "accelerator", "a unit")
    return (shelf["serve.split.layers_share"] * one / count).named(
        "own.together", "speed of one stream over the sum of all, split by layers", "1"
    )


def prompt_gain(kind: str, request: ServeRequest, shelf: Shelf) -> Quantity:
    """Prompts follow each other through the layers: faster than one accelerator, below the sum."""
    if split_of(kind, request, shelf) == "layers":
        return shelf["serve.split.layers_prompt"]
    return given("", 1, "1", "not split by layers", "")


def split_remark(kind: str, request: ServeRequest, shelf: Shelf) -> str:
    """What the split means for one stream; empty for one accelerator."""
    way = split_of(kind, request, shelf)
    if way == "layers":
        return (
            "Split by layers, as engines do over slow links: more accelerators hold a larger model, "
            "but one stream is no faster than on one; --split tensor for the other way."
        )
    if way == "tensor":
        return (
            "Split by tensors, which needs an engine that can and a fast link; --split layers for "
            "the speed of one accelerator that would hold the model."
        )
    return ""


def _fast(kind: str, shelf: Shelf) -> bool:
    """Whether the link is of NVLink's kind."""
    link = f"accelerator.{kind}.link"
    centre = Draws(count=1).centre
    return link in shelf and centre(shelf[link]) >= centre(shelf["serve.split.fast_link"])
