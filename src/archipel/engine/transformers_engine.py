"""An engine over `transformers`: slower, but it runs whatever that library runs.

Sampling is ours (same noise, same definition of the log-probabilities), the network is theirs.
Rows of one batch have prompts of equal length, so nothing is padded. Batch invariance is not promised, because
their products are not: what else is sampled may change the last bits of a log-probability. On a processor, though, the
rollouts of one request are sampled by themselves, so that one machine, with one number of threads, gives the same
bits for a request whatever it is asked beside it. Needs the extra `transformers`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from archipel.engine.protocol import (
    NonFiniteLogits,
    NotLoaded,
    Ticket,
    WrongWeights,
    refuse_adapters,
    refuse_steering,
)
from archipel.engine.sampler import sample
from archipel.engine.scheduler import Admission
from archipel.engine.slots import Slots
from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel, read_config
from archipel.model.devices import float64_place
from archipel.model.directory import expected_shapes
from archipel.model.experts import expert_names
from archipel.model.stock import blank, check_shapes, forward_names
from archipel.model.stock_config import StockConfig, read_stock_config
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout

MAX_ROWS = 128
"""Rollouts that are sampled together."""


class TransformersEngine:
    """An `Engine` over `AutoModelForCausalLM`."""

    def __init__(
        self,
        model: Path | StockConfig,
        dtype: Literal["float32", "bfloat16"] = "float32",
        device: str = "cpu",
    ) -> None:
        """Build the architecture that a configuration, or `model`/config.json, describes; `load` brings weights.

        Raises:
            InvalidModel: the library is not installed, or is no help with this architecture.
        """
        self._config = read_stock_config(model) if isinstance(model, Path) else model
        self._native = _native(model) if isinstance(model, Path) else None
        self._device = torch.device(device)
        self._draws_on = float64_place(self._device)
        self._decoder = blank(self._config, getattr(torch, dtype)).to(self._device)
        self._network = self._decoder.network
        names = forward_names(self._network)
        self._caches = "past_key_values" in names
        self._last_alone = {"logits_to_keep": 1} if "logits_to_keep" in names else {}
        self._loaded = False

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Engine.load`.

        Raises:
            WrongWeights: names or shapes are not those of the architecture.
        """
        if self._native is not None and state.keys() == expected_shapes(self._native).keys():
            state = _of_modules(state, self._native)
        try:
            check_shapes(state, self._config)
        except InvalidModel as error:
            raise WrongWeights(f"{error}; load a state of the same model") from None
        self._decoder.fill(state)
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
        refuse_steering(requests, "transformers")
        done: dict[tuple[int, int], Rollout] = {}
        num_tokens = 0
        for batch in _batches(requests, apart=self._device.type == "cpu"):
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
        tokens = torch.tensor(prompts, device=self._device)
        cache: Any = None
        rows = np.arange(len(prompts))
        while slots.live.any():
            logits_BV, cache = self._next(tokens, cache)
            drawn, logprobs = sample(logits_BV, slots.draw(rows, self._draws_on))
            new = drawn.unsqueeze(1).to(self._device)
            tokens = torch.cat((tokens, new), dim=1) if cache is None else new
            live = slots.live.copy()
            sampled = logprobs.cpu().numpy()[live]
            if not np.isfinite(sampled).all():
                raise NonFiniteLogits("a sampled log-probability is not finite; check the weights")
            ended = slots.record(rows[live], drawn.cpu().numpy()[live], sampled)
            yield {slots.owner[row]: done for row, done in ended.items()}, int(live.sum())

    def _next(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Logits after the last of `tokens`, and what saves reading all of them again; None: nothing does."""
        if not self._caches:
            answer: Any = self._network(input_ids=tokens, use_cache=False, **self._last_alone)
            return answer.logits[:, -1], None
        answer = self._network(
            input_ids=tokens, past_key_values=cache, use_cache=True, **self._last_alone
        )
        # A network that keeps no cache, though it takes one, reads everything again.
        self._caches = answer.past_key_values is not None
        return answer.logits[:, -1], answer.past_key_values


def _batches(requests: Sequence[Request], *, apart: bool) -> Iterator[list[tuple[int, int]]]:
    """(request, rollout) pairs with prompts of equal length, at most `MAX_ROWS` together.

    apart: requests of several rollouts are not mixed with others. Single rollouts, as evaluations ask for, are.
    """
    by_form: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for index, request in enumerate(requests):
        rollouts = [(index, rollout) for rollout in range(request.num_rollouts)]
        own = index if apart and request.num_rollouts > 1 else -1
        by_form[len(request.prompt), own] += rollouts
    for pairs in by_form.values():
        for start in range(0, len(pairs), MAX_ROWS):
            yield pairs[start : start + MAX_ROWS]


def _native(model: Path) -> DecoderConfig | None:
    """Of a directory whose weights may come by the names of files, as runs of backend archipel have them."""
    try:
        return read_config(model)
    except InvalidModel:
        return None


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
