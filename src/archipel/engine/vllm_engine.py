"""An engine over vLLM, for machines with a GPU. Needs the extra `vllm`.

Each rollout is its own vLLM request with a seed derived from (work seed, rollout index), so its
noise does not depend on batch or node; vLLM's products are not batch-invariant, and neither is
this. Weights travel as one safetensors file that every worker reads: nothing is pickled.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from archipel.engine.fused import check_state
from archipel.engine.noise import philox4x32
from archipel.engine.protocol import NotLoaded, refuse_adapters
from archipel.model.directory import read_config
from archipel.records.cuts import Cut
from archipel.records.requests import ENDED, Ending, InvalidRequest, Request
from archipel.records.rollouts import Rollout

_SEED_STREAM = 0x564C4C4D


class WeightReader:
    """What vLLM mixes into its workers: read new weights from a file."""

    model_runner: Any

    def read_archipel_weights(self, path: str) -> None:
        """Load the state in the safetensors file at `path` into this worker's model."""
        self.model_runner.model.load_weights(_tensors(path))


class VllmEngine:
    """An `Engine` over `vllm.LLM`."""

    def __init__(self, model: Path, dtype: Literal["float32", "bfloat16"] = "bfloat16") -> None:
        """Start vLLM for the architecture in the directory `model`; weights come with `load`."""
        import vllm

        self._config = read_config(model)
        self._vllm = vllm
        self._llm = vllm.LLM(
            model=str(model),
            dtype=dtype,
            skip_tokenizer_init=True,
            # Log-probabilities after temperature: those of the distribution that was sampled.
            logprobs_mode="processed_logprobs",
            worker_extension_cls=f"{WeightReader.__module__}.{WeightReader.__qualname__}",
        )
        self._loaded = False

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Engine.load`.

        Raises:
            WrongWeights: names or shapes are not those of the architecture.
        """
        check_state(self._config, state)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "state.safetensors"
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
            self._llm.collective_rpc("read_archipel_weights", args=(str(path),))
        # Cached prefixes were computed by the old weights.
        self._llm.reset_prefix_cache()
        self._loaded = True

    def generate(
        self,
        requests: Sequence[Request],
        on_progress: Callable[[int], None] | None = None,
    ) -> list[tuple[Rollout, ...]]:
        """See `Engine.generate`; progress is told once, at the end.

        Raises:
            NotLoaded: `load` comes first.
            InvalidRequest: a request names an adapter.
        """
        if not self._loaded:
            raise NotLoaded("the engine has no weights; call load(state) before generate")
        refuse_adapters(requests, "vllm")
        prompts: list[dict[str, list[int]]] = []
        settings: list[Any] = []
        for request in requests:
            for rollout in range(request.num_rollouts):
                prompts.append({"prompt_token_ids": list(request.prompt)})
                settings.append(self._settings(request, rollout))
        answers = iter(self._llm.generate(prompts, settings, use_tqdm=False) if prompts else [])
        groups = [
            tuple(_completion(next(answers), request.ending) for _ in range(request.num_rollouts))
            for request in requests
        ]
        if on_progress is not None:
            on_progress(sum(len(c.tokens) for group in groups for c in group))
        return groups

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
    return tuple(float(step[token].logprob) for step, token in zip(steps, tokens, strict=False))


def _tensors(path: str) -> Iterator[tuple[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
            yield name, file.get_tensor(name)
