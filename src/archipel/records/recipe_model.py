"""What a recipe says of its model and of the prompts that the model is given. Part of `recipe`."""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archipel.records.recipe_form import Section


class ModelSection(Section):
    """Architecture of a model that starts from random weights (ignored when weights are given)."""

    family: Literal["llama", "qwen2", "qwen3", "olmo2"] = "llama"
    """Which published architecture."""
    hidden_size: Annotated[int, Field(ge=8, le=65_536)] = 128
    """Width of the residual stream."""
    num_layers: Annotated[int, Field(ge=1, le=512)] = 2
    """Decoder layers."""
    num_heads: Annotated[int, Field(ge=1, le=1024)] = 4
    """Attention heads of the queries."""
    num_kv_heads: Annotated[int, Field(ge=1, le=1024)] = 4
    """Attention heads of keys and values; num_heads is a multiple of it."""
    head_dim: Annotated[int, Field(ge=2, le=1024)] | None = None
    """hidden_size / num_heads unless given."""
    intermediate_size: Annotated[int, Field(ge=8, le=1_048_576)] = 352
    """Width inside the feed-forward layers."""
    max_position_embeddings: Annotated[int, Field(ge=8, le=4_194_304)] = 256
    """The context: prompt and completion together, in tokens."""
    tie_embeddings: bool = True
    """The output layer is the embedding, transposed."""
    rope_theta: Annotated[float, Field(gt=0.0)] = 10_000.0
    """Base of the rotary position embedding."""
    tokenizer: Literal["characters", "bytes"] = "characters"
    """`characters` is a 64-symbol alphabet for small verifiable tasks; `bytes` covers any text."""


class PromptSection(Section):
    """How a task's text becomes a prompt; the supervised stage, training and evaluation all follow it."""

    chat_template: Literal["auto", "always", "never"] = "auto"
    """auto: the model's own template where it has one, as in `archipel chat`; always: refuse models without; never: the bare text."""
    system: Annotated[str, Field(max_length=16_384)] | None = None
    """Message of the system before each task; needs a chat template."""
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    """The day (YYYY-MM-DD) that a template which asks for the date is told; without it, it is told none."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.chat_template == "never" and (self.system or self.date):
            raise ValueError(
                'system and date need a chat template, but chat_template is "never"; '
                "remove one of them"
            )
        if self.date is not None:
            try:
                date.fromisoformat(self.date)
            except ValueError as error:
                raise ValueError(f"date is {self.date}: {error}") from None
        return self
