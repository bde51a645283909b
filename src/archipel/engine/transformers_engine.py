"""An engine over `transformers`: slower, but it runs whatever that library runs.

Sampling is ours (same noise, same definition of the log-probabilities), the network is theirs.
Rows of one batch have prompts of equal length, so nothing is padded; batch invariance is not
promised here, because their attention is not. Needs the extra `transformers`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from archipel.engine.fused import check_state
from archipel.engine.protocol import (
    NonFiniteLogits,
    NotLoaded,
    Ticket,
    WrongWeights,
    refuse_adapters,
)
from archipel.engine.sampler import sample
from archipel.engine.scheduler import Admission
from archipel.engine.slots import Slots
from archipel.model.config import DecoderConfig
from archipel.model.directory import read_config
from archipel.model.experts import expert_names
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout

MAX_ROWS = 128
"""Rollouts that are sampled together."""


class TransformersEngine:
    """An `Engine` over `AutoModelForCausalLM`."""

    def __init__(
        self,
        model: Path,
        dtype: Literal["float32", "bfloat16"] = "float32",
        device: str = "cpu",
    ) -> None:
        """Build the architecture in `model`/config.json; its weights come with `load`."""
        import transformers

        self._config = read_config(model)
        self._device = torch.device(device)
        config = transformers.AutoConfig.from_pretrained(model, local_files_only=True)
        network = transformers.AutoModelForCausalLM.from_config(config)
        self._network = network.to(device=self._device, dtype=getattr(torch, dtype)).eval()
        self._loaded = False

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Engine.load`.

        Raises:
            WrongWeights: names or shapes are not those of the architecture.
        """
        check_state(self._config, state)
        found = self._network.load_state_dict(_of_modules(state, self._config), strict=False)
        # A tied head is absent from the state and follows the embedding.
        tied = {"lm_head.weight"} if self._config.tie_embeddings else set()
        if wrong := [*sorted(set(found.missing_keys) - tied), *found.unexpected_keys]:
            raise WrongWeights(
                f"this release of transformers has other names for {len(wrong)} tensors of {self._config.family}, "
                f"first {wrong[0]}; take the engine archipel"
            )
        self._network.tie_weights()
        self._loaded = True

    @torch.inference_mode()
    def generate(
        self,
        requests: Sequence[Request],
        on_progress: Callable[[int], None] | None = None,
    ) -> list[tuple[Rollout, ...]]:
        """See `Engine.generate`.

        Raises:
            NotLoaded: `load` comes first.
            InvalidRequest: a request names an adapter.
            NonFiniteLogits: the weights are broken.
        """
        if not self._loaded:
            raise NotLoaded("the engine has no weights; call load(state) before generate")
        refuse_adapters(requests, "transformers")
        done: dict[tuple[int, int], Rollout] = {}
        num_tokens = 0
        for batch in _batches(requests):
            slots = Slots(len(batch))
            slots.admit(
                [
                    (requests[request], Admission(Ticket(request), rollout, (row,)))
                    for row, (request, rollout) in enumerate(batch)
                ]
            )
            prompts = [requests[request].prompt for request, _ in batch]
            for ended, sampled in self._steps(slots, prompts):
                done |= ended
                num_tokens += sampled
                if on_progress is not None:
                    on_progress(num_tokens)
        return [
            tuple(done[index, rollout] for rollout in range(request.num_rollouts))
            for index, request in enumerate(requests)
        ]

    def _steps(
        self, slots: Slots, prompts: list[tuple[int, ...]]
    ) -> Iterator[tuple[dict[tuple[int, int], Rollout], int]]:
        """Sample until every row has ended; finished rows run along, their samples dropped."""
        tokens, cache = torch.tensor(prompts, device=self._device), None
        rows = np.arange(len(prompts))
        while slots.live.any():
            answer: Any = self._network(
                input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            cache = answer.past_key_values
            drawn, logprobs = sample(answer.logits[:, -1], slots.draw(rows, self._device))
            tokens = drawn.unsqueeze(1)
            live = slots.live.copy()
            sampled = logprobs.cpu().numpy()[live]
            if not np.isfinite(sampled).all():
                raise NonFiniteLogits("a sampled log-probability is not finite; check the weights")
            ended = slots.record(rows[live], drawn.cpu().numpy()[live], sampled)
            yield {slots.owner[row]: done for row, done in ended.items()}, int(live.sum())


def _batches(requests: Sequence[Request]) -> Iterator[list[tuple[int, int]]]:
    """(request, rollout) pairs with prompts of equal length, at most `MAX_ROWS` together."""
    by_length: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for index, request in enumerate(requests):
        rollouts = [(index, rollout) for rollout in range(request.num_rollouts)]
        by_length[len(request.prompt)] += rollouts
    for pairs in by_length.values():
        for start in range(0, len(pairs), MAX_ROWS):
            yield pairs[start : start + MAX_ROWS]


def _of_modules(state: Mapping[str, Tensor], config: DecoderConfig) -> dict[str, Tensor]:
    """Files have a matrix for each expert; modules of transformers 5 one for all, gate above up."""
    if config.experts is None:
        return dict(state)
    named, count = dict(state), config.experts.count
    gate, up, down = expert_names(config.family)
    for layer in range(config.num_layers):
        files = f"model.layers.{layer}.{config.traits.experts}"
        module = f"model.layers.{layer}.mlp"

        def parts(name: str, files: str = files) -> list[Tensor]:
            return [named.pop(f"{files}.experts.{i}.{name}.weight") for i in range(count)]

        both = [torch.cat(each) for each in zip(parts(gate), parts(up), strict=True)]
        named[f"{module}.experts.gate_up_proj"] = torch.stack(both)
        named[f"{module}.experts.down_proj"] = torch.stack(parts(down))
        named[f"{module}.gate.weight"] = named.pop(f"{files}.gate.weight")
    return named
