"""asample: a prompt and how it is to be continued or scored, out of JSON.

Parts: `SampleBody` (as it comes), `Asked` (the question), `TargetCells` (whose log-probabilities are asked in the prompt),
`read_sample`, `fit` (against the model, once it is known).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from archipel.door.wire import bounds, tensors
from archipel.door.wire.chunks import Chunk, tokens_of
from archipel.door.wire.errors import Refused
from archipel.door.wire.reading import Body, Constants, Id, SeqId, Text, read

NO_TARGET = -1
"""What stands in a cell of target_prompt_logprobs that asks nothing."""
MASKED_TARGET = 0.0
"""And what is told there."""
Top = Annotated[int, Field(ge=0, le=bounds.MAX_TOP_LOGPROBS)]


class SamplingParams(Constants):
    """How tokens are drawn."""

    max_tokens: Annotated[int, Field(ge=0, le=bounds.MAX_NEW_TOKENS)] | None = None
    """None: as many as the context takes."""
    seed: Annotated[int, Field(ge=0, le=bounds.MAX_SEED)] | None = None
    stop: (
        Annotated[str, Field(max_length=bounds.MAX_STOP_CHARACTERS)]
        | Annotated[
            list[Annotated[int, Field(ge=0, le=2**31 - 1)]],
            Field(max_length=bounds.MAX_STOPS, fail_fast=True),
        ]
        | Annotated[
            list[Annotated[str, Field(max_length=bounds.MAX_STOP_CHARACTERS)]],
            Field(max_length=bounds.MAX_STOPS, fail_fast=True),
        ]
        | None
    ) = None
    """What ends a completion beside the model's own end of text; an empty list lets nothing end it, not even that."""
    temperature: Annotated[float, Field(ge=0, le=bounds.MAX_TEMPERATURE)] = 1.0
    top_k: Annotated[int, Field(ge=-1, le=bounds.MAX_TOP_K)] = -1
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0


class Prompt(Body):
    chunks: Annotated[list[Chunk], Field(max_length=bounds.MAX_CHUNKS, fail_fast=True)]


class SampleBody(Body):
    """Fields of every client; those that are not done here may be there where they ask nothing."""

    prompt: Prompt
    sampling_params: SamplingParams
    num_samples: Annotated[int, Field(ge=1, le=bounds.MAX_SAMPLES)] = 1
    base_model: Text | None = None
    model_path: Text | None = None
    sampling_session_id: Id | None = None
    seq_id: SeqId | None = None
    prompt_logprobs: bool | None = None
    topk_prompt_logprobs: Top = 0
    topk_sample_logprobs: Top = 0
    target_prompt_logprobs: tensors.TensorData | None = None
    prompt_alt_tokens_k: Annotated[int, Field(ge=0, le=0)] = 0
    """Draws at every place of the prompt; not offered."""
    prompt_logprobs_last_n: Annotated[int, Field(ge=1)] | None = None
    record_stability_info: bool | None = None
    """A record of every sequence is kept in any case."""

    @model_validator(mode="after")
    def _names_weights(self) -> Self:
        if (self.sampling_session_id is None) != (self.seq_id is None):
            raise ValueError("give sampling_session_id and seq_id together")
        if self.sampling_session_id is None and not (self.base_model or self.model_path):
            raise ValueError("give sampling_session_id, model_path or base_model")
        if self.prompt_logprobs_last_n is not None and not self.prompt_logprobs:
            raise ValueError("prompt_logprobs_last_n needs prompt_logprobs")
        return self


@dataclass(frozen=True, eq=False)
class TargetCells:
    """Tokens whose log-probabilities are asked, and how the answer is laid out."""

    pairs: tuple[tuple[int, int], ...]
    """(place in the prompt from 1 up, token), in the order of the cells that ask."""
    shape: tuple[int, int]
    layout: tensors.Layout | None
    """Of a sparse question, whose answer has the same cells."""
    asking: tensors.Array
    """Which cells ask, of all or of those of the layout: indices, int64, rising."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One call: some completions of one prompt."""

    session: str | None
    """Of sampling; None: the weights are named here."""
    seq_id: int | None
    base_model: str | None
    model_path: str | None
    prompt: tuple[int, ...]
    num_samples: int
    params: SamplingParams
    prompt_logprobs: bool
    last_n: int | None
    """Of the prompt's log-probabilities, only the last so many are told; None: all."""
    topk_prompt_logprobs: int
    topk_sample_logprobs: int
    targets: TargetCells | None

    @property
    def ends_itself(self) -> bool:
        """Whether the model's own end of text ends a completion, beside what is named: unless an empty list was sent."""
        return self.params.stop != []

    @property
    def stop_tokens(self) -> tuple[int, ...]:
        """Tokens that end a completion."""
        return tuple(each for each in self.params.stop or () if isinstance(each, int))

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Texts that end a completion."""
        stop = self.params.stop
        if isinstance(stop, str):
            return (stop,)
        return tuple(each for each in stop or () if isinstance(each, str))


def read_sample(body: bytes, longest: int = bounds.MAX_TOKENS_PER_DATUM) -> Asked:
    """The question. longest: of all contexts here; what no model reads is not read either, for nobody else is served meanwhile.

    Raises:
        Refused: `malformed`: it cannot be read; `too_large`; `impossible`: numbers that make no sense; `not_offered`:
            images, sound.
    """
    if body.count(b",") > (most := longest + 4 * bounds.MAX_TARGET_CELLS):
        raise Refused("too_large", f"more than {most} values; models here read {longest} tokens")
    said = read(SampleBody, body, bounds.MAX_PROMPT_JSON_BYTES)
    prompt = tokens_of(said.prompt.chunks, "the prompt")
    if not len(prompt):
        raise Refused("impossible", "a prompt without tokens; send at least one")
    last_n = said.prompt_logprobs_last_n
    if last_n is not None and last_n >= len(prompt):
        raise Refused(
            "impossible",
            f"prompt_logprobs_last_n is {last_n} and the prompt has {len(prompt)} tokens; expected 1 to one less",
        )
    _check_cells(said, len(prompt), said.sampling_params.max_tokens or 0)
    return Asked(
        session=said.sampling_session_id,
        seq_id=said.seq_id,
        base_model=said.base_model,
        model_path=said.model_path,
        prompt=tuple(prompt.tolist()),
        num_samples=said.num_samples,
        params=said.sampling_params,
        prompt_logprobs=bool(said.prompt_logprobs),
        last_n=last_n,
        topk_prompt_logprobs=said.topk_prompt_logprobs,
        topk_sample_logprobs=said.topk_sample_logprobs,
        targets=_targets(said.target_prompt_logprobs, len(prompt)),
    )


def fit(asked: Asked, max_context: int, vocab_size: int) -> int:
    """How many tokens a completion may have: what was asked, or what the context leaves.

    Raises:
        Refused: `impossible`: the model cannot read it.
    """
    left = max_context - len(asked.prompt)
    wanted = asked.params.max_tokens
    if left < (wanted or 0) or left < 1:
        raise Refused(
            "impossible",
            f"a prompt of {len(asked.prompt)} tokens and {wanted or 1} to come; this model has a context of {max_context}",
        )
    tokens = [*asked.prompt, *asked.stop_tokens]
    tokens += [token for _, token in asked.targets.pairs] if asked.targets else []
    if max(tokens) >= vocab_size:
        raise Refused(
            "impossible",
            f"the token {max(tokens)}; this model knows 0 to {vocab_size - 1}: is it this model's tokenizer?",
        )
    wanted = left if wanted is None else wanted
    _check_cells(asked, len(asked.prompt), wanted)
    return wanted


def _check_cells(said: "SampleBody | Asked", num_prompt: int, max_tokens: int) -> None:
    """max_tokens: of each completion, as far as it is known."""
    new = said.num_samples * max_tokens
    cells = num_prompt * said.topk_prompt_logprobs + new * said.topk_sample_logprobs
    if cells > bounds.MAX_TOP_CELLS:
        raise Refused(
            "too_large",
            f"{cells} likeliest tokens to be told of; at most {bounds.MAX_TOP_CELLS}: ask for fewer at each place",
        )


def _targets(said: tensors.TensorData | None, num_prompt: int) -> TargetCells | None:
    if said is None:
        return None
    cells = tensors.read_json(said, "target_prompt_logprobs")
    if cells.values.dtype.kind != "i" or len(cells.shape) != 2 or cells.shape[0] != num_prompt - 1:
        raise Refused(
            "impossible",
            f"target_prompt_logprobs is {cells.values.dtype.name} of shape {list(cells.shape)}; expected int64 of "
            f"[{num_prompt - 1}, K], a row for every token of the prompt after the first",
        )
    asking = np.flatnonzero(cells.values != NO_TARGET)
    if not 0 < len(asking) <= bounds.MAX_TARGET_CELLS:
        raise Refused(
            "impossible",
            f"{len(asking)} cells of target_prompt_logprobs ask; expected 1 to {bounds.MAX_TARGET_CELLS}",
        )
    rows = asking // cells.shape[1] if cells.layout is None else cells.layout.rows[asking]
    tokens = cells.values[asking]
    if int(tokens.min()) < 0 or int(tokens.max()) >= 2**31:
        raise Refused("impossible", "target_prompt_logprobs has numbers that are no tokens")
    pairs = zip((rows + 1).tolist(), tokens.tolist(), strict=True)
    return TargetCells(tuple(pairs), _two(cells.shape), cells.layout, asking)


def _two(shape: Sequence[int]) -> tuple[int, int]:
    return shape[0], shape[1]
