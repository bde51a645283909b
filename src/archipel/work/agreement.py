"""Does what samples compute the same model as what learns? A few short rollouts, scored again by the trainer's network.

Parts: `short_requests` (what is sampled for it), `compared` (the figures), `Comparison.fault` (figures beyond what
the numbers' type explains), `reference` (the network by itself, where no trainer is at hand).
Law: an engine that computes another model than the trainer learns from makes every ratio wrong, and nobody
sees it in the reward: no rollout is learned from before this was looked at. The cost is bounded: `MAX_WORK`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from archipel.engine.protocol import Sampler
from archipel.model.adapter import Adapter, adapt, set_adapter
from archipel.model.backends import AnyConfig, network_of
from archipel.model.network import Decoder
from archipel.records.exact import variant_named
from archipel.records.requests import Request
from archipel.training.batch import Group
from archipel.training.packing import trees_of
from archipel.training.scorer import Scorer, Scoring
from archipel.training.sharding import Site
from archipel.work.kind import EngineChoice

MAX_PROMPTS, ROLLOUTS, NEW_TOKENS = 4, 2, 12
FEWEST_PROMPT_TOKENS = 16
MAX_WORK = 3e10
"""Parameters times tokens that go through the network for it: about 3 s of one core, twice over; a model of 0.4
million parameters takes some milliseconds. Prompts of larger models are cut until they fit."""


@dataclass(frozen=True)
class Tolerance:
    """How far log-probabilities may lie apart, in nats at temperature 1 or above."""

    mean: float
    largest: float

    def __add__(self, other: "Tolerance") -> "Tolerance":
        """Of two that both round."""
        return Tolerance(self.mean + other.mean, self.largest + other.largest)


FLOATS: Mapping[str, Tolerance] = {
    "float32": Tolerance(mean=1e-4, largest=5e-3),
    "bfloat16": Tolerance(mean=0.05, largest=1.0),
}
"""By the type that an engine computes in. Measured on four families and on trained models of 0.4 and 29 million
parameters, mean and largest: fp32 7e-7 and 3e-6, bf16 7e-3 and 6e-2. The smallest mistake tried, ten times the
norm's epsilon, is 4e-4 and 2e-3 in fp32; ten times the base of the rotary embedding 0.02 to 0.7 on those models.
Deeper networks and other machines add up in another order: hence 100 times (fp32) and 7 times (bf16)."""
EXACT: Mapping[str, Tolerance] = {
    "w7a8": Tolerance(mean=0.2, largest=2.0),
    "w12a13": Tolerance(mean=0.05, largest=1.0),
    "w7a15": Tolerance(mean=0.2, largest=2.0),
    "w13a15": Tolerance(mean=3e-3, largest=0.1),
}
"""By the variant of the exact contract; it rounds weights and activations, so that the bits agree, not the model.
Measured as above: 3e-2 and 0.2 with weights of 7 bits, 7e-3 and 6e-2 with 12, 3e-4 and 2e-3 with 13."""


@dataclass(frozen=True)
class Comparison:
    """How far apart the log-probabilities of the same sampled tokens are."""

    num_tokens: int
    mean: float
    """Of the absolute differences, nats."""
    largest: float
    where: str
    sampled: float
    """Log-probability there by the engine that sampled."""
    scored: float
    """The same by the trainer's network."""

    def fault(self, tolerance: Tolerance, temperature: float) -> str | None:
        """What is wrong, in figures; None: as near as `tolerance` says.

        temperature: of both; logits are divided by it, and so are their errors.
        """
        scale = max(1.0, 1.0 / temperature)
        mean, largest = tolerance.mean * scale, tolerance.largest * scale
        if self.mean <= mean and self.largest <= largest:
            return None
        return f"{self}; expected at most {mean:.2g} and {largest:.2g}"

    def __str__(self) -> str:
        return (
            f"over {self.num_tokens} tokens they differ by {self.mean:.2g} nats in the mean and by "
            f"{self.largest:.2g} at most ({self.where}: {self.sampled:.4f} by the engine, {self.scored:.4f} by "
            "the trainer)"
        )


def tolerance_of(choice: EngineChoice, contract: str | None) -> Tolerance:
    """By what such an engine is judged; one that computes a contract unknown here by the widest."""
    if contract is None:
        return FLOATS[choice.dtype]
    return EXACT.get(variant_named(contract) or "", EXACT["w7a8"])


def short_requests(requests: Sequence[Request], num_parameters: int) -> list[Request]:
    """The first few of `requests`, cut to what may be computed for a comparison; none: the model is too large."""
    affordable = int(MAX_WORK / max(num_parameters, 1))
    new = ROLLOUTS * NEW_TOKENS
    found: list[Request] = []
    for request in requests[:MAX_PROMPTS]:
        room = affordable - new
        if room < min(FEWEST_PROMPT_TOKENS, len(request.prompt)):
            break
        prompt = request.prompt[:room]
        few = min(request.max_new_tokens, NEW_TOKENS)
        rollouts = min(request.num_rollouts, ROLLOUTS)
        found.append(replace(request, prompt=prompt, num_rollouts=rollouts, max_new_tokens=few))
        affordable -= len(prompt) + new
    return found


def reference(
    config: AnyConfig,
    state: Mapping[str, Tensor],
    temperature: float,
    adapter: Adapter | None = None,
    like: Request | None = None,
) -> Scorer:
    """The trainer's network with these weights, in fp32 on the processor: what it computes hangs on no engine.

    adapter: what lies over them, kept apart as the trainer keeps it. like: leaves out what has no chance in it.
    """
    decoder = network_of(config, state)
    if adapter is not None and isinstance(decoder, Decoder):
        adapt(decoder, adapter.form, 0)
        set_adapter(decoder, adapter)
    scorer = Scorer(decoder, temperature, Site(), Scoring(cut=None if like is None else like.cut))
    scorer.allowed = None if like is None else like.allowed
    return scorer


def compared(engine: Sampler, scorer: Scorer, requests: Sequence[Request]) -> Comparison:
    """Sample `requests` and score what came out.

    The requests have the scorer's temperature.
    """
    sampled = engine.generate(requests)
    trees = [
        tree
        for index, (request, rollouts) in enumerate(zip(requests, sampled, strict=True))
        for tree in trees_of(
            Group(index, request.prompt, rollouts, (0.0,) * len(rollouts), 0),
            (0.0,) * len(rollouts),
            longest_row=0,
        )
    ]
    with torch.no_grad():
        scored_N = scorer(scorer.batch_of([(tree,) for tree in trees]))[0].cpu().double()
    places = [
        (request.key, number, position, logprob)
        for request, rollouts in zip(requests, sampled, strict=True)
        for number, rollout in enumerate(rollouts)
        for position, logprob in enumerate(rollout.logprobs)
    ]
    sampled_N = torch.tensor([logprob for *_, logprob in places], dtype=torch.float64)
    apart_N = (sampled_N - scored_N).abs().nan_to_num(nan=math.inf)
    worst = int(apart_N.argmax())
    key, number, position, logprob = places[worst]
    return Comparison(
        num_tokens=len(places),
        mean=float(apart_N.mean()),
        largest=float(apart_N[worst]),
        where=f"group {key}, rollout {number}, token {position}",
        sampled=logprob,
        scored=float(scored_N[worst]),
    )
