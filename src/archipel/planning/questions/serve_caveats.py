"""`plan serve`, caveats of one machine: how it is split, a price nobody knows, weights in two formats."""

from archipel.planning.questions.serve_asked import Model, quant_of
from archipel.planning.questions.serve_machine import Machine
from archipel.planning.questions.serve_split import split_remark
from archipel.planning.requests.serve import ServeRequest
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf


def caveats(
    model: Model, machine: Machine, request: ServeRequest, shelf: Shelf, *, known: bool
) -> list[str]:
    """What a reader must know of this machine; `known`: whether its price is."""
    split = split_remark(machine.kind, request, shelf)
    said = [split] if split else []
    if not known:
        said.append(
            f"No purchase price of {machine.title} is known, so its cost, the break-even and the "
            "cascade are left out; give --price."
        )
    if quant_of(request, shelf) == "mxfp4" and not model.two_formats:
        said.append(
            "Every weight is counted in mxfp4; published files keep attention and embeddings wider."
        )
    return said


def unpriced(machine: Machine, hosted: float) -> str:
    """The verdict where the machine's price is unknown."""
    speed = Draws(count=1).centre(machine.per_stream)
    return (
        f"It fits and answers at {speed:,.3g} token/s; what it costs is unknown without its price "
        f"(--price). Hosted, a million tokens cost ${hosted:.3g}."
    )
