"""How vLLM is started for a model of ours, and how its workers take new weights.

Parts: `VllmLimits`, `started`, `WeightReader`; `rank_room` (which adapters one vLLM has room for).
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from archipel.engine.protocol import NotStarted
from archipel.engine.vllm_spread import EXECUTORS, SpreadWorker, host_here, why_not
from archipel.model.directory import read_config
from archipel.records.requests import InvalidRequest
from archipel.records.spread import ONE_DEVICE, Spread

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Room for an adapter's rank that vLLM can be started with."""
INDEX = "model.safetensors.index.json"
"""Of weights in several files, which lie elsewhere."""
MAX_ADAPTERS = 4
"""Sampled from side by side."""


@dataclass(frozen=True)
class VllmLimits:
    """What one vLLM may take of its machine."""

    memory_share: float = 0.9
    """Of an accelerator's memory, for weights and cache."""
    cache_bytes: int = 2 * 2**30
    """Of keys and values, on a processor."""
    max_rank: int = 0
    """Of adapters; 0: it takes none."""
    spread: Spread = ONE_DEVICE
    """Over how many devices it splits the model."""


class WeightReader(SpreadWorker):
    """What vLLM mixes into its workers: new weights in the place of the old ones, of which each takes its own slices."""

    model_runner: Any
    reload_weights: Any

    def take_archipel_weights(self, folder: str) -> None:
        """Load the safetensors file in `folder`.

        Not by the model's `load_weights` alone: for a processor vLLM lays weights out anew and forgets their first form,
        which `reload_weights` knows. What it does not know is an output layer tied to the embedding, which
        keeps a layout of its own.
        """
        self.reload_weights(weights_path=folder)
        head = getattr(self.model_runner.get_model(), "lm_head", None)
        head = getattr(head, "base_layer", head)
        if head is not None and hasattr(head, "cpu_linear"):
            head.quant_method.process_weights_after_loading(head)


def started(
    model: Path, state: Mapping[str, Tensor], home: Path, dtype: str, limits: VllmLimits
) -> Any:
    """A `vllm.LLM` with these weights, laid into `home` as vLLM reads a model: a run's folder has none at a node.

    Raises:
        ImportError: vLLM is not installed.
        NotStarted: this host cannot split the model as asked.
        RuntimeError, ValueError: vLLM does not start.
    """
    import vllm

    host, spread = host_here(), limits.spread
    if fault := why_not(spread, host, read_config(model)):
        raise NotStarted(fault)
    for file in model.glob("*.json"):
        if file.name != INDEX:
            shutil.copyfile(file, home / file.name)  # no modes: a confined process may change none
    write_weights(state, home)
    room = {"gpu_memory_utilization": limits.memory_share}
    if host.is_processor:
        # Compiling for a processor takes minutes and a compiler, and saves little.
        room = {"kv_cache_memory_bytes": limits.cache_bytes, "enforce_eager": True}
    settings = {
        "model": str(home),
        "dtype": dtype,
        "skip_tokenizer_init": True,
        # Log-probabilities after temperature and cuts: those of the distribution that was sampled.
        "logprobs_mode": "processed_logprobs",
        "distributed_executor_backend": "uni",
        "worker_extension_cls": f"{WeightReader.__module__}.{WeightReader.__qualname__}",
        "disable_log_stats": True,
        **room,
        **_lora_room(limits.max_rank),
    }
    if spread.is_one:
        return vllm.LLM(**settings)
    return _spread(settings, spread)


def _spread(settings: dict[str, Any], spread: Spread) -> Any:
    """The same over several devices, whose processes end with this one.

    Raises:
        RuntimeError, ValueError: one of them does not start.
    """
    import vllm

    settings["distributed_executor_backend"] = EXECUTORS[spread.by]
    settings["tensor_parallel_size"] = spread.devices
    try:
        llm = vllm.LLM(**settings)
    except (ImportError, OSError, RuntimeError, ValueError):
        raise
    except Exception as error:  # vLLM raises a bare one for a process that did not start
        raise RuntimeError(str(error) or type(error).__name__) from error
    if spread.by == "processes":  # Ray ends its own
        llm.collective_rpc("live_with_parent")
    return llm


def write_weights(state: Mapping[str, Tensor], folder: Path) -> None:
    """As the one file of weights in this folder."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(tensors, folder / "model.safetensors")


def rank_room(rank: int) -> int:
    """The least room that vLLM can be started with for adapters of this rank; 0 for none.

    Raises:
        InvalidRequest: there is none so large.
    """
    if rank == 0:
        return 0
    for room in RANKS:
        if room >= rank:
            return room
    raise InvalidRequest(
        f"vLLM takes adapters of rank {RANKS[-1]} at most, this one has {rank}; sample with the engine archipel"
    )


def _lora_room(rank: int) -> dict[str, Any]:
    room = rank_room(rank)
    if room == 0:
        return {}
    return {
        "enable_lora": True,
        "max_lora_rank": room,
        "max_loras": MAX_ADAPTERS,
        "max_cpu_loras": MAX_ADAPTERS,
    }
