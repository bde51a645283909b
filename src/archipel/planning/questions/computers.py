"""The sheet of a lab for one kind of accelerator: `plan lab` asks all of it, other questions parts."""

from archipel.planning.quantity import Quantity
from archipel.planning.questions.sheet import Sheet
from archipel.planning.questions.utilisation import chip_of
from archipel.planning.tables import Shelf


def lab_words(kind: str, country: str, shelf: Shelf) -> dict[str, str]:
    """The words of a lab of this kind in this country, without staff for research."""
    bare = shelf.fact(f"purchase_form.{kind}") == "bare"
    return {
        "kind": kind,
        "country": country,
        "draw": "tpu" if kind.startswith("tpu") else "gpu",
        "priced": "kind.purchase * facility.server_overhead.other" if bare else "kind.purchase",
        "hourly": f"rental.{kind}" if f"rental.{kind}" in shelf else "",
        "h100": kind if kind == "h100" else "",
        "researchers": "",
        "chip": chip_of(kind),
        "links": "server",
        "group": "failures",
        "least": "0",
    }


def lab_sheet(kind: str, shelf: Shelf, given: dict[str, Quantity], country: str = "usa") -> Sheet:
    """A lab of this kind, with what was given in place of constants."""
    return Sheet("lab", shelf, lab_words(kind, country, shelf), given)


def inside_server(kind: str, shelf: Shelf) -> Quantity:
    """The price of one accelerator with its share of a server, USD/accelerator."""
    return lab_sheet(kind, shelf, {})["lab.price"]
