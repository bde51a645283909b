"""Which experts a sampler sent each token to: what travels with a rollout of a mixture of experts.

A router that two machines round differently may choose differently where two experts are nearly alike, and the
log-probabilities of what follows then part by far more than rounding. A trainer that is told the choices can take them
again (arXiv 2510.11370). A byte is an expert's number, `OPEN` where the sampler did not look; a token has `chosen`
bytes for each layer, layers in order. A rollout has them for every token that is read: prompt, then completion
without its last.
Parts: `ExpertTerms` (in a run's pace), `check_choices`, `cut_choices`. Law: pure.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from archipel.records.fields import Closed
from archipel.records.prompts import WrongShape

OPEN = 255
"""No expert has this number."""
TENSORS = {"experts": "U8", "prompt_lengths": "I32"}
"""What a payload of rollouts has more: choices of all rollouts, and tokens of each group's prompt."""
AT_ONCE = 65_536


class WrongChoices(WrongShape):
    """Choices that are not those of so many tokens, or name experts that are not there."""


class ExpertTerms(Closed):
    """The mixture of experts of a run's model, for nodes and for checks of what they send."""

    layers: Annotated[int, Field(ge=1, le=512)]
    count: Annotated[int, Field(ge=1, le=OPEN)]
    """Experts of a layer."""
    chosen: Annotated[int, Field(ge=1, le=32)]
    """Experts of a token."""
    prompt_tokens: Annotated[int, Field(ge=1, le=2**22)]
    """No prompt is longer."""

    @property
    def per_token(self) -> int:
        """Bytes of one token."""
        return self.layers * self.chosen

    def most_bytes(self, num_rollouts: int, max_new_tokens: int) -> int:
        """No honest choices of so many rollouts take more."""
        longest = self.prompt_tokens + max_new_tokens
        return num_rollouts * (longest * self.per_token + 4) + 256


def packed_choices(
    groups: Sequence[Sequence[tuple[bytes, int]]], per_token: int
) -> dict[str, array]:
    """The tensors of a payload from (choices, tokens of the completion) of each rollout of each group."""
    prompts = [len(group[0][0]) // per_token - group[0][1] + 1 for group in groups]
    return {
        "experts": array("B", b"".join(choices for group in groups for choices, _ in group)),
        "prompt_lengths": array("i", prompts),
    }


def check_choices(parts: Mapping[str, array], group_size: int, terms: ExpertTerms) -> None:
    """Whether there are choices for every token that was read, of experts that are there.

    That a prompt is as long as is said here, and that the policy chose so, is not shown.

    Raises:
        WrongChoices: there are not.
    """
    lengths, prompts, choices = parts["lengths"], parts["prompt_lengths"], parts["experts"]
    if len(prompts) * group_size != len(lengths):
        raise WrongChoices(f"{len(prompts)} prompt lengths, expected {len(lengths) // group_size}")
    if any(not 1 <= length <= terms.prompt_tokens for length in prompts):
        raise WrongChoices(f"a prompt's length is outside 1 .. {terms.prompt_tokens}")
    tokens = sum(lengths) - len(lengths) + group_size * sum(prompts)
    if len(choices) != tokens * terms.per_token:
        raise WrongChoices(
            f"choices of {len(choices)} bytes for {tokens} tokens, expected {tokens * terms.per_token}"
        )
    allowed = bytes([*range(terms.count), OPEN])
    for start in range(0, len(choices), AT_ONCE):
        if choices[start : start + AT_ONCE].tobytes().translate(None, allowed):
            raise WrongChoices(f"an expert's number is outside 0 .. {terms.count - 1}")


def cut_choices(parts: Mapping[str, array], group_size: int, per_token: int) -> list[bytes]:
    """The choices of each rollout, of checked tensors."""
    cut, start, prompts = [], 0, parts["prompt_lengths"]
    for number, length in enumerate(parts["lengths"]):
        end = start + (prompts[number // group_size] + length - 1) * per_token
        cut.append(parts["experts"][start:end].tobytes())
        start = end
    return cut
