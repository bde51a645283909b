"""What a recipe says of its model, of what is trained in it, of the prompts that it is given and of the turns that it
takes. Part of `recipe`.
"""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from archipel.records.adapter import (
    MICRO,
    TARGETS,
    AdapterForm,
    AdapterRank,
    InsideTarget,
    in_order,
)
from archipel.records.backends import Backend
from archipel.records.episodes import MAX_SYSTEM_CHARACTERS, MAX_TURNS, ToolFormat
from archipel.records.recipe_form import Section
from archipel.records.recipe_learning import MemorySection
from archipel.records.recipe_sampling import SamplingSection


class ModelSection(Section):
    """Who computes the model, and the architecture of one that starts from random weights (ignored when weights are given)."""

    LATER = frozenset({"backend", "num_experts", "experts_per_token", "normalises_experts"})

    backend: Backend = "archipel"
    """`archipel`: its own families, sampled the same bit for bit beside whatever else; `transformers`: any causal model
    that this library loads from a directory, without that promise (needs the extra `transformers`)."""
    family: Literal[
        "llama", "qwen2", "qwen3", "olmo2", "mistral", "smollm3", "phi3", "granite",
        "qwen3_moe", "olmoe", "mixtral",
    ] = "llama"  # fmt: skip
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
    """Width inside the feed-forward layers, of each expert where there are some."""
    num_experts: Annotated[int, Field(ge=1, le=255)] = 8
    """Of each layer, in qwen3_moe, olmoe and mixtral alone."""
    experts_per_token: Annotated[int, Field(ge=1, le=32)] = 2
    """Experts that each token is sent to, at most num_experts."""
    normalises_experts: bool = True
    """The weights of a token's experts add up to one; false: they stay shares of all experts'."""
    max_position_embeddings: Annotated[int, Field(ge=8, le=4_194_304)] = 256
    """The context: prompt and completion together, in tokens."""
    tie_embeddings: bool = True
    """The output layer is the embedding, transposed."""
    rope_theta: Annotated[float, Field(gt=0.0)] = 10_000.0
    """Base of the rotary position embedding."""
    tokenizer: Literal["characters", "bytes"] = "characters"
    """`characters` is a 64-symbol alphabet for small verifiable tasks; `bytes` covers any text."""

    @model_validator(mode="after")
    def _experts_are_there(self) -> Self:
        if self.experts_per_token > self.num_experts:
            raise ValueError(
                f"experts_per_token is {self.experts_per_token}, more than num_experts = {self.num_experts}"
            )
        if self.family == "mixtral" and not self.normalises_experts:
            raise ValueError("mixtral's experts always add up to one: leave normalises_experts out")
        return self

    def require_backend_for(
        self,
        adapter: "AdapterSection | None",
        sampling: SamplingSection,
        memory: MemorySection,
    ) -> None:
        """Raises ValueError: the backend cannot do what other sections ask for."""
        if self.backend == "archipel":
            return
        others = f'model.backend = "{self.backend}"'
        if sampling.engine == "archipel":
            raise ValueError(
                f'{others} is not computed by engine = "archipel"; name transformers or vllm'
            )
        if adapter is not None:
            raise ValueError(
                f"{others} trains whole weights, and [adapter] is for the families of backend archipel: remove one "
                "of them"
            )
        if memory.compute != "float32" or memory.recompute_layers:
            raise ValueError(
                f"{others} learns in float32 and keeps what it computed; memory.compute and memory.recompute_layers "
                "are for the families of backend archipel: remove them"
            )
        if sampling.replays_routing:
            raise ValueError(
                f"{others} lets its networks choose experts themselves; leave sampling.replays_routing out"
            )
        if sampling.engine == "exact":
            raise ValueError(
                f'{others} computes in floating point, and sampling.engine = "exact" is for the families of backend '
                "archipel: remove one of them"
            )


class AdapterSection(Section):
    """Train a low-rank adapter (LoRA) over the run's first weights, and nothing else; a version is then the adapter alone."""

    rank: AdapterRank = 16
    """r: numbers of the low-rank product; a version's bytes and the memory of training grow with it."""
    alpha: Annotated[float, Field(ge=1 / MICRO, le=MICRO)] = 32.0
    """The product is scaled by alpha / rank; rounded to a whole number of millionths."""
    targets: Annotated[tuple[InsideTarget, ...], Field(min_length=1, max_length=len(TARGETS))] = (
        TARGETS
    )
    """Linear layers that have one, in every decoder layer; the others stay as they are."""
    rank_stabilised: bool = False
    """Scale by alpha / sqrt(rank) instead (rsLoRA): the size of a step then hangs less on the rank."""

    @field_validator("alpha")
    @classmethod
    def _as_it_travels(cls, value: float) -> float:
        return round(value * MICRO) / MICRO

    @field_validator("targets")
    @classmethod
    def _once_each(cls, value: tuple[InsideTarget, ...]) -> tuple[InsideTarget, ...]:
        return in_order(value)

    @property
    def form(self) -> AdapterForm:
        """What a version says of itself."""
        return AdapterForm(
            rank=self.rank,
            alpha_micro=round(self.alpha * MICRO),
            targets=self.targets,
            rank_stabilised=self.rank_stabilised,
        )


class PromptSection(Section):
    """How a task's text becomes a prompt; the supervised stage, training and evaluation all follow it."""

    chat_template: Literal["auto", "always", "never"] = "auto"
    """auto: the model's own template where it has one, as in `archipel chat`; always: refuse models without; never: the bare text."""
    system: Annotated[str, Field(max_length=MAX_SYSTEM_CHARACTERS)] | None = None
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


class EpisodeSection(Section):
    """Several turns: the environment answers the model's, until it says that the episode is over."""

    LATER = frozenset({"rewritten"})

    turns: Annotated[int, Field(ge=1, le=MAX_TURNS)] = 4
    """Turns of the model at most; an episode that is not over then counts as cut off.
    `sampling.max_new_tokens` bounds all of it, the environment's answers too."""
    tools: ToolFormat = "auto"
    """How the model calls tools: `hermes` (`<tool_call>` and JSON, as Qwen's), `llama` (JSON), `plain`
    (`name(argument)`); auto: what the model's chat template shows, without one `plain`."""
    rewritten: Literal["refused", "new_sample"] = "refused"
    """What becomes of a chat template that changes earlier turns when later ones come (leaves out what the model
    thought, moves the system's words): `refused` before the run opens; `new_sample`: the episode goes on as a further
    sample, whose prompt is all of the conversation as the template writes it then, and which is read, not learned
    from. `sampling.max_new_tokens` bounds these prompts, too."""
