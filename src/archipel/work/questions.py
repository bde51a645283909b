"""Questions of sampling, and what came of them.

Parts: `Question`; `TopK`, `Completion`, `Sampled`. Their bytes: `question_payloads`.
Law: numpy alone; a door asks these of whoever does its work, and nodes are asked no others.
"""

from dataclasses import dataclass

from archipel.training.tenants.operations import Array


@dataclass(frozen=True)
class Question:
    """Some completions of one prompt."""

    prompt: tuple[int, ...]
    num_samples: int
    """0: the prompt is only scored."""
    max_tokens: int
    seed: int
    """64 bits."""
    temperature: float
    top_k: int
    """-1 or 0: all."""
    top_p: float
    stop_tokens: tuple[int, ...] = ()
    stop_strings: tuple[str, ...] = ()
    prompt_logprobs: bool = False
    topk_prompt_logprobs: int = 0
    topk_sample_logprobs: int = 0
    target_prompt_tokens: tuple[tuple[int, int], ...] | None = None
    """(place in the prompt from 1 up, token) pairs whose log-probabilities are asked, several at one place or none;
    None: nobody asks."""


@dataclass(frozen=True, eq=False)
class TopK:
    """The likeliest tokens at each place."""

    tokens: Array
    """int32 (places, k); 0 where there is none."""
    logprobs: Array
    """float32 (places, k); -99999 where there is none."""


@dataclass(frozen=True, eq=False)
class Completion:
    """One completion."""

    tokens: tuple[int, ...]
    """A stop token, or the token that completed a stop string, is the last of them."""
    logprobs: tuple[float, ...]
    """Nats, of what was sampled from: at its temperature, and of what top_k and top_p left, renormalised; at
    temperature 0, at 1."""
    ended_by: str
    """`stop` or `length`."""
    topk: TopK | None
    """At each token, of the same distribution."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """What came of a question."""

    sequences: tuple[Completion, ...]
    prompt_logprobs: Array | None
    """float32 (prompt,), NaN at the first place; at temperature 1, of the whole distribution."""
    topk_prompt: TopK | None
    """At each place of the prompt; there is none at the first."""
    target_prompt: Array | None
    """float32, of each pair that was asked, in their order."""
    num_tokens: int
    """Of the prompt, once, and of all completions."""
