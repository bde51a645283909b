"""Adapters in the engine: what the trainer's network gives, and the same bits in any company."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from archipel.engine.engine import (
    EngineBusy,
    EngineLimits,
    InvalidRequest,
    LocalEngine,
    NotLoaded,
    Request,
    WrongWeights,
)
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.variants import VARIANTS
from archipel.engine.quantised.arithmetic import Weights, arithmetic_for
from archipel.model.adapter import Adapter, adapt, adapter_shapes, merged, set_adapter
from archipel.model.config import DecoderConfig, Family
from archipel.model.manifest import WrongTensors
from archipel.model.network import Decoder, causal_attention
from archipel.records.adapter import HEAD, TARGETS, AdapterForm, Target
from archipel.records.recipe_model import AdapterSection
from engine.engine_models import decoder_of, lively_state, ragged_requests, small_config

FORMS = [
    AdapterSection(rank=4, alpha=8.0).form,
    AdapterSection(rank=16, alpha=3.0, targets=("q_proj", "v_proj", "down_proj")).form,
    AdapterSection(rank=3, alpha=2.0, rank_stabilised=True).form,
]
SHAPES = {
    "qwen2, biases": small_config("qwen2"),
    "olmo2, norms after": small_config("olmo2", num_kv_heads=1),
    "wide": small_config("qwen3", head_dim=32, intermediate_size=1536),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def lively_adapter(config: DecoderConfig, number: int) -> Adapter:
    """Products as large as the weights beside them."""
    form = FORMS[number % len(FORMS)]
    generator = torch.Generator().manual_seed(number)
    state = {
        name: (torch.randn(shape, generator=generator) * 0.1).bfloat16()
        for name, shape in adapter_shapes(config, form).items()
    }
    return Adapter(form, state)


def engine_with(config: DecoderConfig, adapters: dict[str, Adapter], **options) -> LocalEngine:
    engine = LocalEngine(config, **options)
    engine.load(lively_state(config))
    for name, adapter in adapters.items():
        engine.adapt(name, adapter)
    return engine


def adapted(config: DecoderConfig, adapter: Adapter) -> Decoder:
    """The trainer's network with this adapter."""
    decoder = decoder_of(config, lively_state(config))
    adapt(decoder, adapter.form, 0)
    set_adapter(decoder, adapter)
    return decoder


def scored(decoder: Decoder, request: Request, tokens: tuple[int, ...]) -> list[float]:
    ids = torch.tensor([(*request.prompt, *tokens)])
    with torch.no_grad():
        hidden = decoder(ids, torch.arange(ids.shape[1])[None], causal_attention)
        logits = decoder.logits(hidden)[0, len(request.prompt) - 1 : -1] / request.temperature
    return logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist()


@pytest.mark.parametrize("number", range(len(FORMS)))
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
def test_sampled_log_probabilities_are_the_trainers(config: DecoderConfig, number: int) -> None:
    adapter = lively_adapter(config, number)
    engine = engine_with(config, {"mine": adapter})
    decoder, plain = adapted(config, adapter), decoder_of(config, lively_state(config))
    request = Request("g", tuple(range(1, 12)), 5, 4, 16, adapter="mine")
    rollouts = engine.generate([request])[0]
    for rollout in rollouts:
        assert rollout.logprobs == pytest.approx(scored(decoder, request, rollout.tokens), abs=2e-5)
        far = [abs(a - b) for a, b in zip(
            rollout.logprobs, scored(plain, request, rollout.tokens), strict=True
        )]  # fmt: skip
        assert max(far) > 0.05, "the adapter must matter here"


@pytest.mark.parametrize(
    ("family", "targets"),
    [
        ("qwen3_moe", ("q_proj", "k_proj", "v_proj", "o_proj")),
        ("phi3", ("o_proj", "down_proj")),
        ("granite", TARGETS),
    ],
)
def test_layers_that_are_one_weight_take_an_adapter_and_others_are_named(
    family: Family, targets: tuple[Target, ...]
) -> None:
    config = small_config(family, num_layers=1)
    form = AdapterSection(rank=2, alpha=8.0, targets=targets).form
    drawn = torch.Generator().manual_seed(1)
    state = {
        name: (torch.randn(shape, generator=drawn) * 0.1).bfloat16()
        for name, shape in adapter_shapes(config, form).items()
    }
    adapter = Adapter(form, state)
    request = Request("g", tuple(range(1, 12)), 5, 2, 8, adapter="mine")
    decoder = adapted(config, adapter)
    for rollout in engine_with(config, {"mine": adapter}).generate([request])[0]:
        assert rollout.logprobs == pytest.approx(scored(decoder, request, rollout.tokens), abs=2e-5)
    for target in set(TARGETS) - set(targets):
        other = AdapterSection(rank=2, targets=(target,)).form
        with pytest.raises(WrongTensors, match=f"{family} has no single {target}"):
            adapter_shapes(config, other)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ("olmo2, norms after", torch.float32),
        pytest.param("wide", torch.float32, marks=pytest.mark.slow),
        ("qwen2, biases", torch.bfloat16),
    ],
)
def test_rows_of_three_adapters_and_of_none_are_side_by_side_what_each_is_alone(
    shape: str, dtype: torch.dtype
) -> None:
    config = SHAPES[shape]
    adapters = {str(number): lively_adapter(config, number) for number in range(3)}
    lengths = (5, 8, 8, 17, 257, 40, 16, 9)
    plain = [
        replace(each, max_new_tokens=min(each.max_new_tokens, 8))
        for each in ragged_requests(config.vocab_size, lengths)
    ]
    names = ["0", "1", "2", None, "0", "1", "2", "1"]
    requests = [replace(each, adapter=name) for each, name in zip(plain, names, strict=True)]
    engine = engine_with(config, adapters, dtype=dtype)
    alone = [engine.generate([request])[0] for request in requests]
    for name in ("0", "2"):
        # Nor does it matter whether the other adapters are there at all.
        mine = [at for at, request in enumerate(requests) if request.adapter == name]
        single = engine_with(config, {name: adapters[name]}, dtype=dtype)
        assert single.generate([requests[at] for at in mine]) == [alone[at] for at in mine]
    rng = random.Random(0)
    for limits in (EngineLimits(), EngineLimits(max_slots=9)):
        order = rng.sample(range(len(requests)), len(requests))
        other = engine_with(config, dict(reversed(adapters.items())), dtype=dtype, limits=limits)
        assert other.generate([requests[at] for at in order]) == [alone[at] for at in order]


@pytest.mark.parametrize(("weights", "off"), [("bfloat16", 0.01), ("int8", 0.08)])
def test_an_adapter_lies_over_weights_in_fewer_bits(weights: Weights, off: float) -> None:
    """Gate and up are one product there, and an adapter has a part for each."""
    config = SHAPES["qwen2, biases"]
    adapters = {str(number): lively_adapter(config, number) for number in range(3)}
    engine = engine_with(config, adapters, arithmetic=arithmetic_for(weights, config))
    names = ("0", "1", "2", None)
    requests = [Request(f"{name}", (1, 2, 3), 5, 1, 6, adapter=name) for name in names]
    alone = [engine.generate([request])[0] for request in requests]
    assert engine.generate(requests) == alone
    for request, (said,) in zip(requests[:3], alone, strict=False):
        decoder = adapted(config, adapters[request.adapter or ""])
        expected = scored(decoder, request, said.tokens)
        assert max(abs(a - b) for a, b in zip(said.logprobs, expected, strict=True)) < off


def test_a_new_version_of_an_adapter_takes_the_place_of_the_old_one_and_the_base_stays() -> None:
    config = small_config()
    engine = engine_with(config, {"mine": lively_adapter(config, 0)})
    request = Request("g", (1, 2, 3), 5, 2, 12, adapter="mine")
    first = engine.generate([request])
    engine.adapt("mine", lively_adapter(config, 1))
    assert engine.generate([request]) == engine_with(
        config, {"mine": lively_adapter(config, 1)}
    ).generate([request])
    engine.adapt("mine", lively_adapter(config, 0))
    assert engine.generate([request]) == first


def test_an_adapter_that_is_zero_samples_what_the_base_does() -> None:
    config = small_config()
    adapter = lively_adapter(config, 0)
    zero = Adapter(adapter.form, {
        name: tensor * 0 if "lora_B" in name else tensor for name, tensor in adapter.state.items()
    })  # fmt: skip
    engine = engine_with(config, {"zero": zero})
    request = Request("g", (1, 2, 3), 5, 2, 12)
    assert engine.generate([request]) == engine.generate([replace(request, adapter="zero")])


def test_requests_in_flight_keep_their_adapter_while_others_come_and_go() -> None:
    config = small_config()
    adapters = {str(number): lively_adapter(config, number) for number in range(3)}
    request = Request("g", (1, 2, 3), 5, 2, 12, adapter="0")
    expected = engine_with(config, adapters).generate([request])[0]
    engine = engine_with(config, {"0": adapters["0"], "1": adapters["1"]})
    ticket = engine.add(request)
    engine.step()
    with pytest.raises(EngineBusy, match="adapter '0'"):
        engine.adapt("0", adapters["1"])
    engine.adapt("2", adapters["2"])
    engine.adapt("1", None)
    engine.add(replace(request, adapter="2"))
    ended = {}
    while engine.has_work:
        ended |= engine.step().ended
    assert tuple(ended[ticket, rollout] for rollout in range(2)) == expected


def test_the_first_adapter_waits_until_nothing_runs() -> None:
    config = small_config()
    engine = engine_with(config, {})
    engine.add(Request("g", (1, 2, 3), 5, 1, 12))
    engine.step()
    with pytest.raises(EngineBusy, match="step until they end"):
        engine.adapt("first", lively_adapter(config, 0))


def test_what_does_not_fit_is_refused_by_a_sentence() -> None:
    config = small_config()
    adapter = lively_adapter(config, 0)
    engine = LocalEngine(config)
    with pytest.raises(NotLoaded, match="call load"):
        engine.adapt("a", adapter)
    engine.load(lively_state(config))
    with pytest.raises(InvalidRequest, match="adapter 'a' is not loaded"):
        engine.add(Request("g", (1,), 5, 1, 1, adapter="a"))
    name = next(iter(adapter.state))
    for spoilt, told in (
        ({key: each for key, each in adapter.state.items() if key != name}, "is missing"),
        (adapter.state | {"x.lora_A.weight": adapter.state[name]}, "is unknown"),
        (adapter.state | {name: adapter.state[name][:-1]}, "has shape"),
    ):
        with pytest.raises(WrongWeights, match=told):
            engine.adapt("a", Adapter(adapter.form, spoilt))
    other = small_config(hidden_size=48)
    with pytest.raises(WrongWeights, match="adapter of the same model"):
        engine.adapt("a", lively_adapter(other, 0))
    exact = LocalEngine(
        config, arithmetic=ExactArithmetic(config, VARIANTS["w7a8"], torch.device("cpu"))
    )
    exact.load(lively_state(config))
    with pytest.raises(WrongWeights, match="merged weights"):
        exact.adapt("a", adapter)


def test_merged_weights_sample_nearly_what_the_adapter_does() -> None:
    config = small_config("qwen2")
    adapter = lively_adapter(config, 0)
    assert adapter.form.targets == TARGETS
    whole = LocalEngine(config)
    whole.load(merged(lively_state(config), adapter, config))
    request = Request("g", (1, 2, 3), 5, 2, 12, adapter="a")
    apart = engine_with(config, {"a": adapter}).generate([request])[0]
    together = whole.generate([replace(request, adapter=None)])[0]
    same = [len(a.tokens) for a, b in zip(apart, together, strict=True) if a.tokens == b.tokens]
    assert same, "bf16 rounding must not change every rollout"


@pytest.mark.parametrize("tied", [False, True])
def test_rows_with_and_without_a_product_beside_the_head_are_what_each_is_alone(
    *, tied: bool
) -> None:
    config = small_config("qwen3", num_layers=1, tie_embeddings=tied)
    form = AdapterForm(
        rank=3, alpha_micro=6_000_000, targets=("q_proj", HEAD), rank_stabilised=False
    )
    drawn = torch.Generator().manual_seed(1)
    state = {
        name: (torch.randn(shape, generator=drawn) * 0.2).bfloat16()
        for name, shape in adapter_shapes(config, form).items()
    }
    headed, plain = Adapter(form, state), lively_adapter(config, 1)
    names = ("headed", "plain", None, "headed", None)
    requests = [
        Request(str(at), tuple(range(at + 1, at + 9)), at, 2, 9, adapter=name)
        for at, name in enumerate(names)
    ]
    without = engine_with(config, {"plain": plain})
    engine = engine_with(config, {"headed": headed, "plain": plain})
    alone = [engine.generate([request])[0] for request in requests]
    assert engine.generate(requests) == alone
    # Who has none beside the head keeps every bit of an engine in which nobody has.
    for at in (1, 2, 4):
        assert without.generate([requests[at]])[0] == alone[at]
    own = replace(requests[0], adapter=None)
    assert engine.generate([own])[0] != alone[0]
    expected = engine.score(requests[0].prompt, [alone[0][0].tokens], "headed")[0]
    assert alone[0][0].logprobs == pytest.approx(expected, abs=2e-5)
    assert engine.score(requests[0].prompt, [alone[0][0].tokens])[0] != expected
