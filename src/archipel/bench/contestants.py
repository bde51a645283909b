"""Who is measured by `archipel bench engine`, and what they are asked for.

Parts: `Workload` (a model and lengths), `Task` (a batch of it), and one function per contestant and
dtype, all holding the same bf16 weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from archipel.engine.engine import LocalEngine, Request
from archipel.engine.noise import random_tokens
from archipel.model.config import DecoderConfig
from archipel.model.network import random_weights
from archipel.model.tokenizer import character_tokenizer
from archipel.records.recipe import ModelSection

Dtype = Literal["float32", "bfloat16"]
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")
_SEED = 7


@dataclass(frozen=True)
class Workload:
    """A model and the lengths that it is asked for."""

    name: str
    config: DecoderConfig
    prompt_length: int
    num_new: int


@dataclass(frozen=True)
class Task:
    """What every contestant is asked for at once."""

    workload: Workload
    batch_size: int
    group_size: int

    @cached_property
    def prompts(self) -> list[tuple[int, ...]]:
        """One per group; drawn before the clock starts."""
        length, vocab_size = self.workload.prompt_length, self.workload.config.vocab_size
        count = self.batch_size // self.group_size
        return [random_tokens(_SEED, i, length, vocab_size) for i in range(count)]


Side = Literal["ours", "generate"]
Key = tuple[Side, Dtype]
Contestant = Callable[[Task], int]
"""Returns the number of sampled tokens."""


def workload_named(name: str) -> Workload:
    """`demo`, `30m` or `100m`."""
    if name == "demo":
        config = DecoderConfig.from_section(ModelSection(), character_tokenizer())
        return Workload(name, config, prompt_length=8, num_new=8)
    if name == "30m":
        config = DecoderConfig("qwen3", 8192, 512, 8, 8, 4, 64, 1408, 1024)
        return Workload(name, config, prompt_length=32, num_new=64)
    if name == "100m":
        config = DecoderConfig("qwen3", 32_000, 768, 12, 12, 4, 64, 2048, 1024)
        return Workload(name, config, prompt_length=32, num_new=32)
    raise ValueError(f"no model called {name!r:.40}; there are demo, 30m and 100m")


def contestants_for(workload: Workload) -> dict[Key, Contestant]:
    """Build all of them; takes memory for two copies of the model per dtype."""
    state = {
        name: tensor.detach().bfloat16()
        for name, tensor in random_weights(workload.config, _SEED).state_dict().items()
    }
    contestants: dict[Key, Contestant] = {}
    for dtype in DTYPES:
        contestants["ours", dtype] = _ours(workload, state, dtype)
        contestants["generate", dtype] = _generate(workload, state, dtype)
    return contestants


def _ours(workload: Workload, state: dict[str, Tensor], dtype: Dtype) -> Contestant:
    engine = LocalEngine(workload.config, dtype=getattr(torch, dtype))
    engine.load(state)

    def run(task: Task) -> int:
        requests = [
            Request(str(seed), prompt, seed, task.group_size, workload.num_new)
            for seed, prompt in enumerate(task.prompts)
        ]
        return sum(len(one.tokens) for group in engine.generate(requests) for one in group)

    return run


def _generate(workload: Workload, state: dict[str, Tensor], dtype: Dtype) -> Contestant:
    import transformers

    fields = workload.config.to_hf() | {"eos_token_id": None, "pad_token_id": 0}
    config = transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.load_state_dict(state, strict=not workload.config.tie_embeddings)
    model.tie_weights()
    model = model.to(getattr(torch, dtype)).eval()

    def run(task: Task) -> int:
        tokens = torch.tensor(task.prompts)
        with torch.inference_mode():
            answer = model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                do_sample=True,
                num_return_sequences=task.group_size,
                top_k=0,
                top_p=1.0,
                min_new_tokens=workload.num_new,
                max_new_tokens=workload.num_new,
                pad_token_id=0,
            )
        return int(answer.shape[0] * (answer.shape[1] - tokens.shape[1]))

    return run
