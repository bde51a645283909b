"""A mixture of experts: the trainer sends tokens where the sampler sent them, and says what routers did."""

import math
from dataclasses import replace

import torch

from archipel.engine.engine import LocalEngine, Request
from archipel.model.config import DecoderConfig, Experts
from archipel.model.network import Decoder, random_weights
from archipel.records.experts import OPEN
from archipel.records.fields import MAX_METRICS
from archipel.records.rollouts import Rollout
from archipel.training.batch import Group
from archipel.training.packing import trees_of
from archipel.training.routing import PLAUSIBLE, RoutingReport, fitting
from archipel.training.scorer import Scorer, Scoring
from archipel.training.sharding import Site
from archipel.training.trainer import Trainer
from archipel.work.measured import measured
from training.tiny_learner import VOCAB, tiny_recipe

COUNT, CHOSEN, LAYERS = 8, 2, 3


def expert_config(**changes: object) -> DecoderConfig:
    config = DecoderConfig(
        "qwen3_moe", VOCAB, 32, LAYERS, 4, 2, 8, 48, 128, experts=Experts(COUNT, CHOSEN, 24, normalised=True),
    )  # fmt: skip
    return replace(config, **changes)  # type: ignore[arg-type]


def undecided(config: DecoderConfig, seed: int = 0) -> Decoder:
    """bf16 weights whose experts differ much and whose routers decide by little, in fp32."""
    model = random_weights(config, seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(1.0 if name.endswith("mlp.gate.weight") else 12.0)
            parameter.copy_(parameter.to(torch.bfloat16))
    return model


def sampled(model: Decoder, dtype: torch.dtype, **changes: object) -> Group:
    engine = LocalEngine(model.config, dtype=dtype)
    engine.load({name: each.detach() for name, each in model.named_parameters()})
    prompt = tuple(range(1, 12))
    request = Request("0", prompt, 7, 8, 16, tells_experts=True)
    (rollouts,) = engine.generate([replace(request, **changes)])  # type: ignore[arg-type]
    return Group(0, prompt, rollouts, tuple(float(i % 2) for i in range(len(rollouts))), 0)


def apart(model: Decoder, group: Group, **settings: bool) -> list[float]:
    """Absolute differences of the log-probabilities of sampler and trainer."""
    scorer = Scorer(model, 1.0, Site(), Scoring(**settings))
    trees = trees_of(group, (0.0,) * len(group.rollouts), longest_row=256)
    with torch.no_grad():
        scored = scorer(scorer.batch_of([(tree,) for tree in trees]))[0]
    told = torch.tensor([p for rollout in group.rollouts for p in rollout.logprobs])
    return (scored - told).abs().tolist()


def test_replay_shrinks_the_mismatch_of_a_bf16_sampler_and_an_fp32_trainer() -> None:
    model = undecided(expert_config())
    group = sampled(model, torch.bfloat16)
    report = routing_of(model, group)
    assert report.rerouted_fraction > 0.005, "the sampler has to route some tokens otherwise"
    assert report.implausible_fraction == 0.0
    own, again = apart(model, group, replays_routing=False), apart(model, group)
    assert max(own) > 0.2
    assert max(again) < max(own) / 3
    assert sum(again) < sum(own) / 2


def test_in_one_arithmetic_what_is_replayed_is_what_the_trainer_would_have_chosen() -> None:
    model = undecided(expert_config())
    group = sampled(model, torch.float32)
    assert max(apart(model, group)) < 1e-3
    assert max(apart(model, group, replays_routing=False)) < 1e-3


def test_choices_are_of_every_token_that_was_read_whoever_runs_beside_it() -> None:
    model = undecided(expert_config())
    group = sampled(model, torch.float32)
    per_token = LAYERS * CHOSEN
    for rollout in group.rollouts:
        choices = rollout.experts
        assert choices is not None
        assert len(choices) == (11 + len(rollout.tokens) - 1) * per_token
        table = torch.frombuffer(bytearray(choices), dtype=torch.uint8).view(-1, LAYERS, CHOSEN)
        # Of a prompt's last layer only the end is computed.
        assert (table[:10, -1] == OPEN).all()
        assert (table[:, :-1] < COUNT).all()
        assert (table[10:] < COUNT).all()
    alone = sampled(model, torch.float32, num_rollouts=3)
    assert alone.rollouts == group.rollouts[:3]
    assert all(
        each.experts is None for each in sampled(model, torch.float32, tells_experts=False).rollouts
    )


def test_long_prompts_that_are_read_in_parts_tell_all_their_choices() -> None:
    model = undecided(expert_config(max_position_embeddings=1024))
    engine = LocalEngine(model.config)
    engine.load({name: each.detach() for name, each in model.named_parameters()})
    prompt = tuple(i % VOCAB for i in range(300))
    short = Request("1", prompt[:20], 7, 1, 3, tells_experts=True)
    requests = [
        Request("0", prompt, 7, 1, 3, tells_experts=True),
        replace(short, tells_experts=False),
        short,
    ]
    (long,), (silent,), (told,) = engine.generate(requests)
    assert silent.experts is None
    assert silent.tokens == told.tokens
    assert long.experts is not None
    assert len(long.experts) == 302 * LAYERS * CHOSEN
    assert told.experts is not None
    # The same beginning is sent to the same experts, alone or in a longer prompt.
    first = torch.frombuffer(bytearray(long.experts), dtype=torch.uint8).view(-1, LAYERS, CHOSEN)
    other = torch.frombuffer(bytearray(told.experts), dtype=torch.uint8).view(-1, LAYERS, CHOSEN)
    assert torch.equal(first[:20, :-1], other[:20, :-1])


def test_a_record_breaks_ties_and_moves_nothing_else() -> None:
    """Experts that the trainer's router does not nearly like are a stranger's wish, and not followed."""
    model = undecided(expert_config())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("mlp.gate.weight"):
                parameter.mul_(40.0)
    group = sampled(model, torch.float32)
    report = routing_of(model, with_choices(group, bytes([6, 7])))
    assert 0 < PLAUSIBLE < 1
    assert report.implausible_fraction > 0.5
    assert report.replayed_fraction < 0.5
    for nonsense in (bytes([6, 6]), bytes([6, COUNT])):
        assert routing_of(model, with_choices(group, nonsense)).replayed_fraction == 0.0


def with_choices(group: Group, pair: bytes) -> Group:
    """Every token was sent to this pair, it says."""
    rollouts = tuple(
        replace(each, experts=pair * (len(each.experts or b"") // 2)) for each in group.rollouts
    )
    return replace(group, rollouts=rollouts)


def routing_of(model: Decoder, group: Group) -> RoutingReport:
    scorer = Scorer(model, 1.0, Site())
    sums = scorer.routing_sums
    assert sums is not None
    trees = trees_of(group, (0.0,) * len(group.rollouts), longest_row=256)
    with torch.no_grad():
        scorer(scorer.batch_of([(tree,) for tree in trees]))
    return sums.take().report(Site())


def test_choices_that_are_not_of_a_rollouts_own_tokens_are_left_out() -> None:
    config, rollout = expert_config(), Rollout((5, 6, 7), (-1.0,) * 3, False)
    whole = bytes(LAYERS * CHOSEN * 4)
    group = Group(
        0,
        (1, 2),
        (replace(rollout, experts=whole), replace(rollout, experts=whole[:-1])),
        (0.0, 1.0),
        0,
    )
    kept = fitting(group, config)
    assert [each.experts for each in kept.rollouts] == [whole, None]
    dense = replace(config, family="qwen3", experts=None)
    assert all(each.experts is None for each in fitting(group, dense).rollouts)


def test_a_version_says_what_its_routers_did() -> None:
    model = undecided(expert_config())
    group = sampled(model, torch.bfloat16)
    trainer = Trainer(model, tiny_recipe())
    report = trainer.update([group])
    routing = report.routing
    assert routing is not None
    assert math.isclose(sum(routing.load), 1.0)
    assert len(routing.load) == COUNT
    assert 1.0 <= routing.load_max <= COUNT
    assert 0.0 <= routing.unused_fraction < 1.0
    assert 0.0 < routing.entropy <= math.log(COUNT)
    assert 0.5 < routing.replayed_fraction <= 1.0
    metrics = measured(report)
    assert metrics["router_replayed_fraction_micro"] == round(routing.replayed_fraction * 1e6)
    assert sum(metrics[f"expert_{number}_load_micro"] for number in range(COUNT)) in range(
        999_990, 1_000_010
    )
    assert "routing" not in metrics
    assert len(metrics) < MAX_METRICS - 16, "others have metrics, too"
    again = trainer.update(
        [replace(group, rollouts=tuple(replace(e, experts=None) for e in group.rollouts))]
    )
    assert again.routing is not None
    assert again.routing.replayed_fraction == 0.0
