"""How one quantity came about: the tree of what it rests on, each with its formula or its source.

Law: the formula that is printed is the one that was evaluated.
"""

from archipel.planning.layout import wrapped
from archipel.planning.quantity import Quantity, Source, Stated, named_parents
from archipel.planning.sampling import Draws
from archipel.planning.units import spell
from archipel.planning.wording import amount_text, range_text


def explained(of: Quantity, draws: Draws, width: int | None = None) -> str:
    """The derivation tree, each quantity with its formula or source key, then the sources in full."""
    lines: list[str] = []
    seen: set[int] = set()
    sources: dict[str, Source] = {}

    def say(text: str, lead: str, below: str) -> None:
        lines.extend([lead + text] if width is None else wrapped(text, width, lead, below))

    def show(quantity: Quantity, lead: str, below: str) -> None:
        found = draws.estimate(quantity)
        row = {"value": found.value, "low": found.low, "high": found.high}
        head = f"{quantity.name} = {range_text(row | {'unit': spell(quantity.unit)})}"
        parents, deeper = named_parents(quantity), f"{below}    "
        if id(quantity) in seen and parents:
            say(f"{head}  (shown above)", lead, deeper)
            return
        seen.add(id(quantity))
        say(head, lead, deeper)
        for reason in _reason(quantity, sources):
            say(reason, deeper, deeper)
        for index, parent in enumerate(parents):
            last = index == len(parents) - 1
            show(parent, below + ("└── " if last else "├── "), below + ("    " if last else "│   "))

    show(of, "", "")
    lines += ["Sources"] if sources else []
    for key, source in sorted(sources.items()):
        say(f"{key}: {_citation(source)}", "  ", "    ")
    return "\n".join(lines)


def _reason(quantity: Quantity, sources: dict[str, Source]) -> list[str]:
    """What it is and where it comes from; notes the sources it cites."""
    about = [quantity.about] if quantity.about else []
    if not isinstance(quantity.origin, Stated):
        return [*about, f"= {quantity.origin.formula}"]
    figure = quantity.origin
    if figure.source.key in ("you", "own"):
        return [*about, f"{figure.kind}: {figure.source.title}"]
    sources[figure.source.key] = figure.source
    lines = [*about, f"{figure.kind}: {figure.source.key}, {figure.date}"]
    lines += [f"note: {figure.note}"] if figure.note else []
    for other in figure.also:
        sources[other.source.key] = other.source
        text = amount_text(other.value, spell(quantity.unit))
        lines.append(f"also: {text} ({other.source.key}{', ' if other.note else ''}{other.note})")
    return lines


def _citation(source: Source) -> str:
    """Title, authors, year, address, and how it was read if not at the source."""
    year = str(source.year) if source.year else ""
    parts = [source.title, source.authors, year, source.url]
    second = f"[{source.read}]" if source.read != "primary" else ""
    return ", ".join(part for part in parts if part) + (f" {second}" if second else "")
