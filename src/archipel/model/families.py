"""The families of open models that the network implements, and in what they differ.

Parts: `Family`, `Traits` (one line of the table for each family), `Llama3Scaling`, `Experts`, `InvalidConfig`.
Law: a family is a line here and nothing else: network, engine and files ask the traits, never the name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Family = Literal[
    "llama", "qwen2", "qwen3", "olmo2", "mistral", "smollm3", "phi3", "granite",
    "qwen3_moe", "olmoe", "mixtral",
]  # fmt: skip
FAMILIES: tuple[Family, ...] = get_args(Family)
EXACT_FAMILIES: tuple[Family, ...] = ("llama", "qwen2", "qwen3", "olmo2")
"""Those that the exact contract describes (docs/reference/exact.md)."""
MAX_EXPERTS = 255
"""Of one layer: an expert's number fits a byte of a record, where 255 is nobody (`records.experts`)."""
MAX_CHOSEN = 32


class InvalidConfig(ValueError):
    """The description is not one of a decoder that this network implements."""


@dataclass(frozen=True)
class Traits:
    """In what a family differs from Llama."""

    architecture: str
    """The class of `transformers`."""
    epsilon: float = 1e-6
    """Of the norms, where a file is silent."""
    rope_theta: float = 10_000.0
    """The same for the base of the rotary embedding."""
    qkv_bias: bool = False
    qk_norm: Literal["none", "head", "full"] = "none"
    """RMSNorm on queries and keys: per head, or over all heads."""
    norm_placement: Literal["pre", "post"] = "pre"
    """Norm before each block, or after it inside the residual branch."""
    joined: bool = False
    """One weight for queries, keys and values, and one for gate and up."""
    experts: Literal["none", "mlp", "block_sparse_moe"] = "none"
    """What files call the feed-forward layer of experts."""
    experts_key: str = "num_experts"
    """What config.json calls their number."""
    normalises: bool | None = None
    """Whether the chosen experts' weights add up to one; None: config.json says it."""

    @property
    def has_experts(self) -> bool:
        """Whether feed-forward layers are mixtures of experts."""
        return self.experts != "none"


TRAITS: Mapping[Family, Traits] = {
    "llama": Traits("LlamaForCausalLM"),
    "qwen2": Traits("Qwen2ForCausalLM", qkv_bias=True),
    "qwen3": Traits("Qwen3ForCausalLM", qk_norm="head"),
    "olmo2": Traits("Olmo2ForCausalLM", epsilon=1e-5, qk_norm="full", norm_placement="post"),
    "mistral": Traits("MistralForCausalLM"),
    "smollm3": Traits("SmolLM3ForCausalLM", rope_theta=2_000_000.0),
    "phi3": Traits("Phi3ForCausalLM", epsilon=1e-5, joined=True),
    "granite": Traits("GraniteForCausalLM"),
    "qwen3_moe": Traits("Qwen3MoeForCausalLM", qk_norm="head", experts="mlp"),
    "olmoe": Traits("OlmoeForCausalLM", epsilon=1e-5, qk_norm="full", experts="mlp"),
    "mixtral": Traits(
        "MixtralForCausalLM",
        epsilon=1e-5,
        rope_theta=1_000_000.0,
        experts="block_sparse_moe",
        experts_key="num_local_experts",
        normalises=True,
    ),
}


@dataclass(frozen=True)
class Llama3Scaling:
    """Rotary frequencies stretched for long context (Llama 3.1)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    def __post_init__(self) -> None:
        if not (self.factor >= 1 and 0 < self.low_freq_factor < self.high_freq_factor):
            raise InvalidConfig(
                f"llama3 rope scaling got {self}; expected factor >= 1 and 0 < low < high"
            )
        if self.original_max_position_embeddings < 1:
            raise InvalidConfig("llama3 rope scaling: original_max_position_embeddings < 1")


@dataclass(frozen=True)
class Experts:
    """A mixture of experts in the place of every feed-forward layer (arXiv 1701.06538, 2101.03961)."""

    count: int
    chosen: int
    """Experts that each token is sent to."""
    width: int
    """Inside each expert."""
    normalised: bool
    """Whether the chosen experts' weights add up to one, or stay shares of all experts'."""

    def __post_init__(self) -> None:
        bounds = {
            "number of experts": (self.count, MAX_EXPERTS),
            "number of experts per token": (self.chosen, MAX_CHOSEN),
            "width of an expert": (self.width, 1_048_576),
        }
        for name, (value, high) in bounds.items():
            if type(value) is not int or not 1 <= value <= high:
                raise InvalidConfig(f"{name} is {value!r}; expected an integer in [1, {high}]")
        if self.chosen > self.count:
            raise InvalidConfig(
                f"number of experts per token is {self.chosen}; expected at most the {self.count} there are"
            )
        if type(self.normalised) is not bool:
            raise InvalidConfig(
                f"norm_topk_prob is {self.normalised!r:.40}; expected true or false"
            )
