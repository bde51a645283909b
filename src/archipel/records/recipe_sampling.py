"""What a recipe says of how rollouts are sampled. Part of `recipe`."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from archipel.records.cuts import MAX_TOP_K, MICRO, Cut
from archipel.records.exact import CONTRACTS, VariantName
from archipel.records.recipe_form import Section


class SamplingSection(Section):
    """How rollouts are sampled."""

    LATER = frozenset({"top_k", "top_p", "min_p", "replays_routing"})

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
    replays_routing: bool = False
    """Of a mixture of experts: rollouts say which experts their tokens were sent to, and the trainer sends them
    there again, so that its log-probabilities are those of what was sampled (docs/how-to/bring-a-model.md)."""
    engine: Literal["auto", "any", "exact"] = "auto"
    """`any`: what each node's operator chose, alike but for rounding. `exact`: the exact contract, by which
    anybody can recompute every bit of a result; only nodes that proved at their start that they can are asked.
    `auto`: exact if the model has 10 million parameters or more, a variant is as near to fp32 as bf16 is, and it
    is not slower; whoever opens the run finds out and says so, and the run's record states `any` or `exact`."""
    variant: VariantName | None = None
    """Of the exact contract, the cheapest first: which one a model needs, `archipel exact check` says. Required
    with `engine = "exact"`, and given with it alone."""

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
        if self.engine == "exact" and self.cut is not None:
            raise ValueError(
                f'engine = "exact" samples from the whole distribution; leave {" and ".join(self.cut.bounds)} out'
            )
        return self

    @property
    def cut(self) -> Cut | None:
        """What is left of the distribution; None: all of it."""
        cut = Cut(self.top_k, self.top_p, self.min_p)
        return cut if cut.bounds else None

    @property
    def contract(self) -> str | None:
        """The exact contract that is sampled by; None: any engine may, or nobody has decided yet."""
        return None if self.variant is None else CONTRACTS[self.variant]

    def stated(self, variant: str | None) -> Self:
        """The same, by the exact contract of this variant; by any engine, if it is None."""
        engine = "any" if variant is None else "exact"
        return self.model_copy(update={"engine": engine, "variant": variant})
