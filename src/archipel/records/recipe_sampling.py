"""What a recipe says of how rollouts are sampled. Part of `recipe`."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from archipel.records.cuts import MAX_TOP_K, MICRO, Cut
from archipel.records.engine_classes import ENGINES, DeviceKind, Precision
from archipel.records.exact import CONTRACTS, VariantName
from archipel.records.recipe_form import Section

MAX_STOP_STRINGS = 16
MAX_STOP_CHARACTERS = 256
MAX_ALLOWED_CHARACTERS = 1024


def no_surrogates(text: str) -> str:
    """A text that has UTF-8 bytes."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("half a character; give whole ones")
    return text


StopString = Annotated[
    str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS), AfterValidator(no_surrogates)
]
Characters = Annotated[str, Field(max_length=MAX_ALLOWED_CHARACTERS), AfterValidator(no_surrogates)]


class SamplingSection(Section):
    """How rollouts are sampled."""

    LATER = frozenset(
        {
            "top_k",
            "top_p",
            "min_p",
            "stop",
            "allowed",
            "replays_routing",
            "precision",
            "device",
            "noise",
        }
    )

    max_new_tokens: Annotated[int, Field(ge=1, le=1_048_576)] = 64
    """A completion is cut off here; with its prompt it has to fit the context of the weights."""
    temperature: Annotated[float, Field(ge=1 / MICRO, le=10.0)] = 1.0
    """A whole number of millionths, to which it is rounded: so it reaches nodes, who must sample from
    exactly the distribution that the trainer scores with."""
    top_k: Annotated[int, Field(ge=0, le=MAX_TOP_K)] = 0
    """Only the k likeliest tokens are sampled; 0: all. A cut needs run.max_staleness = 0 (docs/explanation/sampling.md)."""
    top_p: Annotated[float, Field(ge=1 / MICRO, le=1.0)] = 1.0
    """Only the likeliest tokens that together reach this probability are sampled; 1: all."""
    min_p: Annotated[float, Field(ge=0.0, le=1 - 1 / MICRO)] = 0.0
    """Only tokens with this share of the likeliest one's probability are sampled; 0: all."""
    stop: Annotated[tuple[StopString, ...], Field(max_length=MAX_STOP_STRINGS)] = ()
    """Texts that end a completion, beside the model's stop tokens: with the first token after which one stands in it,
    however it lies over tokens. What is graded is the text before it; learned from are all tokens, that one included."""
    allowed: Characters = ""
    """All characters that a completion may have: other tokens have no chance, and log-probabilities are those of what
    is left, in nodes' engines and in the trainer alike. Empty: any. Not with `engine = "exact"`."""
    replays_routing: bool = False
    """Of a mixture of experts: rollouts say which experts their tokens were sent to, and the trainer sends them
    there again, so that its log-probabilities are those of what was sampled (docs/how-to/bring-a-model.md)."""
    engine: Literal["auto", "any", "exact", "archipel", "transformers", "vllm"] = "auto"
    """`any`: what each node's operator chose, alike but for rounding. `exact`: the exact contract, by which
    anybody can recompute every bit of a result; only nodes that proved at their start that they can are asked.
    `auto`: exact if the model has 10 million parameters or more, a variant is as near to fp32 as bf16 is, and it
    is not slower; whoever opens the run finds out and says so, and the run's record states `any` or `exact`.
    `archipel`, `transformers`, `vllm`: only nodes that sample by this engine, in `precision` and on `device`, are asked;
    of the first two, on processors, answers can be audited by measure (docs/how-to/audit-in-floating-point.md)."""
    variant: VariantName | None = None
    """Of the exact contract, the cheapest first: which one a model needs, `archipel exact check` says. Required
    with `engine = "exact"`, and given with it alone."""
    precision: Precision | None = None
    """Of the engine that is named; with `archipel`, `transformers` or `vllm`, and with these alone."""
    device: DeviceKind | None = None
    """What the engine that is named computes on; given with `precision`."""
    noise: Literal["seed", "drawn"] = "seed"
    """`seed`: all sampling follows from run.seed, which the operator chooses. `drawn`: it follows from the lab's ledger
    as it stands once the run is open, and nobody chose it; two runs of one recipe then sample differently."""

    @field_validator("temperature", "top_p", "min_p")
    @classmethod
    def _as_it_travels(cls, value: float) -> float:
        return round(value * MICRO) / MICRO

    @model_validator(mode="after")
    def _variant_of_exact(self) -> Self:
        if (self.engine == "exact") != (self.variant is not None):
            raise ValueError(
                f'engine = "{self.engine}" with variant = {self.variant or "none"}; expected engine = "exact" '
                f"with one of {', '.join(CONTRACTS)}, or neither"
            )
        is_named = self.engine in ENGINES
        if (is_named, is_named) != (self.precision is not None, self.device is not None):
            raise ValueError(
                f'engine = "{self.engine}" with precision = {self.precision or "none"}, device = {self.device or "none"}; '
                f"expected both with one of {', '.join(ENGINES)}, and neither otherwise"
            )
        if self.engine == "exact" and self.cut is not None:
            raise ValueError(
                f'engine = "exact" samples from the whole distribution; leave {" and ".join(self.cut.bounds)} out'
            )
        if self.engine == "exact" and self.allowed:
            raise ValueError(
                'engine = "exact" samples from the whole vocabulary; leave allowed out, or take engine = "any"'
            )
        return self

    @property
    def unheard(self) -> str:
        """Of a stop string that no completion of allowed characters can have, a sentence; nothing where all may come."""
        for text in self.stop if self.allowed else ():
            for character in text:
                if character not in self.allowed:
                    return (
                        f"sampling.stop: {text!r:.80} has {character!r}, which sampling.allowed has not, so that nothing "
                        "can ever end there; allow it, or remove the stop string"
                    )
        return ""

    @property
    def narrowed(self) -> str:
        """The keys by which some tokens have no chance; nothing where all have one."""
        bounds = () if self.cut is None else self.cut.bounds
        return " and ".join([*bounds, *(["allowed"] if self.allowed else [])])

    @property
    def cut(self) -> Cut | None:
        """What is left of the distribution; None: all of it."""
        cut = Cut(self.top_k, self.top_p, self.min_p)
        return cut if cut.bounds else None

    @property
    def contract(self) -> str | None:
        """The exact contract that is sampled by; None: any engine may, or nobody has decided yet."""
        return None if self.variant is None else CONTRACTS[self.variant]

    @property
    def engine_class(self) -> str | None:
        """Engine, precision and device that are asked for; None: an exact contract, or any."""
        return None if self.precision is None else f"{self.engine}-{self.precision}-{self.device}"

    def stated(self, variant: str | None) -> Self:
        """The same, by the exact contract of this variant; by any engine, if it is None."""
        engine = "any" if variant is None else "exact"
        return self.model_copy(update={"engine": engine, "variant": variant})
