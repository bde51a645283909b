"""How fast does this machine sample, is its engine batch-invariant, what can it do exactly? Found out at joining."""

import time
from typing import Any

import torch

from archipel.engine.engine import LocalEngine, Request
from archipel.engine.exact.proof import prove
from archipel.engine.selftest import self_test
from archipel.model.config import DecoderConfig
from archipel.model.network import random_weights
from archipel.model.tokenizer import character_tokenizer
from archipel.records.recipe import ModelSection
from archipel.work.engines import device_of
from archipel.work.kind import EngineChoice

NUM_PROMPTS = 8
ROLLOUTS = 8
NEW_TOKENS = 16
PROMPT = (1, 10, 11, 12, 13, 14, 15, 16)


def measure_engine(choice: EngineChoice) -> dict[str, Any]:
    """`tokens_per_s` of a small model at batch 64, whether the self-test held, which contracts were proven (`exact`),
    and why others were not (`not_exact`, a sentence each).

    Other engines than our own promise nothing about batches, and are measured by their first work.

    Raises:
        MachineUnfit: the device that was chosen is not here.
    """
    if choice.name != "archipel":
        why = (
            f"exact: {choice.name} does not compute by the contract, only the engine archipel does"
        )
        return {"tokens_per_s": 0, "batch_invariant": False, "exact": [], "not_exact": [why]}
    config = DecoderConfig.from_section(ModelSection(), character_tokenizer())
    dtype = torch.float32 if choice.dtype == "float32" else torch.bfloat16
    device_of(choice)
    engine = LocalEngine(config, dtype=dtype, device=choice.device)
    state = random_weights(config, seed=0).state_dict()
    engine.load({name: tensor.to(torch.bfloat16) for name, tensor in state.items()})
    requests = [
        Request(str(n), PROMPT, n, ROLLOUTS, NEW_TOKENS, 1.0, ()) for n in range(NUM_PROMPTS)
    ]
    engine.generate(requests)
    start = time.perf_counter()
    engine.generate(requests)
    elapsed_s = time.perf_counter() - start
    tested = self_test(engine, config.vocab_size, config.max_position_embeddings)
    proof = prove(choice.device)
    tokens = NUM_PROMPTS * ROLLOUTS * NEW_TOKENS
    return {
        "tokens_per_s": round(tokens / elapsed_s),
        "batch_invariant": tested.batch_invariant,
        "exact": list(proof.contracts),
        "not_exact": list(proof.faults),
    }
