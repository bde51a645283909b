"""A decoder of a few thousand weights and rollouts to train it on, for the tests of this room."""

import random

import torch

from archipel.model.config import DecoderConfig
from archipel.model.network import Decoder, causal_attention, random_weights
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.training.batch import Group

VOCAB = 24


def tiny_config(**changes) -> DecoderConfig:
    fields = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": VOCAB,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "intermediate_size": 24,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": True,
        "max_position_embeddings": 64,
        "hidden_act": "silu",
    }
    return DecoderConfig.from_hf(fields | changes)


def tiny_model(seed: int = 0, scale: float = 8.0, **changes) -> Decoder:
    """Weights large enough that probabilities are far from uniform."""
    model = random_weights(tiny_config(**changes), seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(scale)
    return model


def tiny_recipe(**sections: dict) -> Recipe:
    base = {
        "run": {"name": "tiny", "versions": 8, "groups_per_update": 4, "group_size": 4},
        "environment": {"name": "secret_order"},
        "optimiser": {"learning_rate": 1e-2, "warmup_steps": 2, "micro_batch_tokens": 4096},
    }
    merged = {key: base.get(key, {}) | sections.get(key, {}) for key in base | sections}
    return Recipe.model_validate(merged)


def rounded_copy(model: Decoder) -> Decoder:
    """The policy as published: weights rounded to bfloat16, computed in fp32."""
    copy = Decoder(model.config)
    with torch.no_grad():
        for name, parameter in copy.named_parameters():
            parameter.copy_(model.get_parameter(name).to(torch.bfloat16))
    return copy


def alone_logprobs(
    model: Decoder, prompt: tuple[int, ...], tokens: tuple[int, ...], temperature: float = 1.0
) -> torch.Tensor:
    """Log-probabilities of one completion, run by itself, without any batching."""
    ids = torch.tensor([prompt + tokens])
    positions = torch.arange(ids.shape[1]).unsqueeze(0)
    logits = model.logits(model(ids, positions, causal_attention))[0] / temperature
    logprobs = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
    return logprobs.gather(1, torch.tensor(tokens).unsqueeze(1)).squeeze(1)


def tiny_groups(
    policy: Decoder,
    version: int,
    seed: int = 0,
    num_groups: int = 4,
    group_size: int = 4,
    temperature: float = 1.0,
) -> list[Group]:
    """Random completions of uneven length with the policy's own log-probabilities."""
    rng = random.Random(f"{seed}:{version}")
    groups = []
    for number in range(num_groups):
        prompt = tuple(rng.randrange(VOCAB) for _ in range(rng.randrange(1, 7)))
        rollouts = []
        for _ in range(group_size):
            tokens = tuple(rng.randrange(VOCAB) for _ in range(rng.randrange(1, 9)))
            with torch.no_grad():
                logprobs = alone_logprobs(policy, prompt, tokens, temperature)
            rollouts.append(Rollout(tokens, tuple(logprobs.tolist()), True))
        rewards = tuple(rng.random() for _ in range(group_size))
        index = version * num_groups + number
        groups.append(Group(index, prompt, tuple(rollouts), rewards, version))
    return groups
