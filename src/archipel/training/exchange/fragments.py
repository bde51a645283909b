"""Which weights are exchanged together, where a model is exchanged in fragments.

Layer i goes to fragment i mod P (Streaming DiLoCo, arXiv 2501.18512, finds strides a little better than stretches of
neighbouring layers); what belongs to no layer (embeddings, head, last norm), largest first, to the fragment that is
lightest so far.
Law: every tensor is in exactly one fragment, and the same table gives the same fragments everywhere.
"""

import re

from archipel.training.exchange.table import Shapes, checked, num_values

_LAYER = re.compile(r"(?:^|\.)(\d{1,9})(?:\.|$)")
"""The first number among the parts of a name; later ones count experts."""


def fragments(shapes: Shapes, count: int) -> tuple[tuple[str, ...], ...]:
    """The names of each of `count` fragments, sorted.

    Raises:
        ValueError: fewer layers than fragments, or none asked for.
        BadTable: shapes beyond the bounds.
    """
    layers = {name: _layer(name) for name in checked(shapes)}
    numbers = sorted({layer for layer in layers.values() if layer is not None})
    if not 1 <= count <= max(1, len(numbers)):
        raise ValueError(f"{count} fragments of {len(numbers)} layers; expected 1 to as many")
    place_of = {layer: place % count for place, layer in enumerate(numbers)}
    parts: list[list[str]] = [[] for _ in range(count)]
    weights = [0] * count
    for name, layer in layers.items():
        if layer is not None:
            place = place_of[layer]
            parts[place].append(name)
            weights[place] += num_values(shapes[name])
    others = [name for name, layer in layers.items() if layer is None]
    for name in sorted(others, key=lambda name: (-num_values(shapes[name]), name)):
        place = weights.index(min(weights))
        parts[place].append(name)
        weights[place] += num_values(shapes[name])
    return tuple(tuple(sorted(names)) for names in parts)


def _layer(name: str) -> int | None:
    found = _LAYER.search(name)
    return int(found[1]) if found else None
