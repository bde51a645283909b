"""A decoder's shape by numbers, wherever they come from: a `config.json` (`model_config`) or a table.

Parts: `ModelShape` and its numbers as quantities; `known_shape`, a model of the tables.
"""

from dataclasses import dataclass

from archipel.planning.quantity import Quantity, given
from archipel.planning.tables import Shelf

_NAMES = {
    "params": ("param", "parameters", "params"),
    "active_params": ("param", "parameters used per token", "active"),
    "layers": ("1", "layers", "layers"),
    "full_layers": ("1", "layers that attend to everything", "full_layers"),
    "heads": ("1", "query heads", "heads"),
    "kv_heads": ("1", "key and value heads", "kv_heads"),
    "head_width": ("1", "width of one head", "head_width"),
    "kv_values": ("1", "numbers kept of one token", "kv_values"),
    "width": ("1", "width", "width"),
    "vocabulary": ("1", "vocabulary", "vocabulary"),
    "experts": ("param", "parameters of all experts", "experts"),
    "picked": ("param", "parameters of the experts used per token", "picked"),
    "used": ("param", "parameters that a step computes with", "used"),
    "kept": ("param", "parameters that every token reads", "kept"),
}


@dataclass(frozen=True)
class ModelShape:
    """A decoder in numbers; 0 where a table does not say."""

    title: str
    params: float
    active: float
    """Parameters that one token uses; `params` where there are no experts."""
    layers: float
    full_layers: float
    """Layers that attend to everything; the others slide a short window or keep nothing."""
    heads: float
    kv_heads: float
    head_width: float
    """Of one head's keys and values, their mean where they differ."""
    kv_values: float
    """Numbers that one token leaves in the full layers: keys and values, or the latent that stands for both."""
    width: float = 0.0
    vocabulary: float = 0.0
    experts: float = 0.0
    """Parameters of all routed experts; `params` holds them too."""
    picked: float = 0.0
    """Of these, what one token uses."""
    looked_up: float = 0.0
    """Parameters of the first embedding where nothing else uses it: of these a token reads one row."""

    @property
    def is_mixture(self) -> bool:
        """Whether a token uses a part of the parameters."""
        return self.active < self.params

    @property
    def used(self) -> float:
        """Parameters that a step computes with."""
        return self.active - self.looked_up

    @property
    def kept(self) -> float:
        """Parameters that every token reads, where experts are known apart."""
        return self.used - self.picked if self.picked else 0.0

    def quantities(self, option: str) -> dict[str, Quantity]:
        """What is known of it as given quantities, by the names that questions use."""
        found = {}
        for name, (unit, about, part) in _NAMES.items():
            number = getattr(self, part)
            if number and not (part == "active" and not self.is_mixture):
                found[f"model.{name}"] = given(f"model.{name}", number, unit, option, about)
        return found


def known_shape(name: str, shelf: Shelf) -> ModelShape:
    """A model of the tables by its exact name there, as published."""

    def number(part: str, otherwise: float = 0.0) -> float:
        full = f"serve.model.{name}.{part}"
        return shelf.entry(full).figure.value if full in shelf else otherwise

    params, layers = number("params"), number("layers")
    heads, width = number("heads"), number("head_width")
    full, kv_heads = number("full_layers", layers), number("kv_heads", heads)
    stated = number("kv_bytes_per_token") * 1e3 / 2.0  # kB, in half precision
    return ModelShape(
        title=shelf.fact(f"serve.model.{name}.title", name),
        params=params, active=number("active", params), layers=layers, full_layers=full, heads=heads,
        kv_heads=kv_heads, head_width=width, kv_values=stated or 2.0 * full * kv_heads * width,
        width=number("width"), vocabulary=number("vocabulary"), experts=number("experts"),
    )  # fmt: skip
