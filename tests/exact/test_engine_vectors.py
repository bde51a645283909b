"""The engine's exact arithmetic answers the golden vectors of every clause, and the oracle on anything else."""

import hashlib
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from archipel.engine.engine import LocalEngine, NonFiniteLogits, Request, WrongWeights
from archipel.engine.exact import backends, rows
from archipel.engine.exact import whole as ways
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.attention import ExactAttention
from archipel.engine.exact.backends import BACKENDS, Backend, NoBackend, proven
from archipel.engine.exact.projection import ExactProjection, sigmoid_linear
from archipel.engine.exact.sampling import logarithm, sample
from archipel.engine.exact.tables import rotary_table, tables
from archipel.engine.exact.variants import VARIANTS, Variant
from archipel.engine.sampler import Draw
from archipel.model.config import EXACT_FAMILIES, DecoderConfig, Family, Llama3Scaling
from exact import oracle, vectors
from exact.vectors import FILE, floats, whole

CPU = torch.device("cpu")
VECTORS: dict[str, Any] = json.loads(FILE.read_text())


def tensor(text: str, *shape: int) -> Tensor:
    return torch.from_numpy(floats(text, *shape).copy())


def same(found: Tensor, expected: Any) -> bool:
    """Equal in every bit, but for the sign of a zero."""
    return torch.equal(found.double().view(-1), torch.from_numpy(np.ravel(expected)).double())


def test_tables_and_identities() -> None:
    assert tables().digests() == VECTORS["tables"]
    assert {name: each.identity for name, each in VARIANTS.items()} == VECTORS["identities"]


@pytest.mark.parametrize(
    "case", VECTORS["quantised"], ids=lambda case: f"{case['name']} {case['top']}"
)
def test_quantised_rows(case: dict[str, Any]) -> None:
    q, m = rows.quantise(tensor(case["row"]), case["top"])
    assert same(q, whole(case["integers"]))
    assert same(rows.scale_of(m, case["top"]), floats(case["scale"]))


def test_digits() -> None:
    case = VECTORS["digits"]
    high, low = rows.digits(torch.from_numpy(whole(case["integers"])).float())
    assert same(high, whole(case["hi"]))
    assert same(low, whole(case["lo"]))


def only(monkeypatch: pytest.MonkeyPatch, backend: Backend) -> None:
    """Leave one way to multiply."""
    monkeypatch.setattr(backends, "proven", lambda device: (backend,))


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda each: each.name)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda each: each.name)
@pytest.mark.parametrize("case", VECTORS["products"], ids=lambda case: case["name"])
def test_products(
    case: dict[str, Any], variant: Any, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variant.by_length or not backend.can_take(
        case["in"], 127 if variant.activation_digits == 1 else 63
    ):
        return
    only(monkeypatch, backend)
    weights, x = tensor(case["weights"], -1, case["in"]), tensor(case["rows"], -1, case["in"])
    bias = None if case["bias"] is None else tensor(case["bias"])
    assert same(ExactProjection(weights, bias, variant)(x), floats(case["results"][variant.name]))


@pytest.mark.parametrize("way", ways.WAYS, ids=lambda each: each.name)
@pytest.mark.parametrize("case", VECTORS["products"], ids=lambda case: case["name"])
def test_products_of_rows_cut_by_length(
    case: dict[str, Any], way: ways.Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way not in ways.proven(CPU):
        pytest.skip("this machine has no such product")
    monkeypatch.setattr(ways, "proven", lambda device: (way,))
    weights, x = tensor(case["weights"], -1, case["in"]), tensor(case["rows"], -1, case["in"])
    bias = None if case["bias"] is None else tensor(case["bias"])
    made = ExactProjection(weights, bias, VARIANTS["w12a13"])
    assert same(made(x), floats(case["results"]["w12a13"]))


@pytest.mark.parametrize(
    "case", VECTORS["quantised by length"], ids=lambda case: f"{case['name']} {case['top']}"
)
def test_rows_quantised_by_length(case: dict[str, Any]) -> None:
    q, scale = rows.quantise_by_length(tensor(case["row"]), case["top"])
    assert same(q, whole(case["integers"]))
    assert same(scale, floats(case["scale"]))


def test_norms() -> None:
    for case in VECTORS["norms"]:
        x, epsilon = tensor(case["row"], 1, -1), tensor(case["epsilon"])
        r = rows.inverse_rms(x, epsilon)
        assert same(r, floats(case["r"]))
        gains = tensor(case["gains"])
        assert same((x * r).mul_(gains), floats(case["normed"]))
        for top in (127, 8001):
            made = rows.rows_of(x * gains, top, r)
            assert same(made.q, whole(case[f"top {top}"]["integers"]))
            assert same(made.scale, floats(case[f"top {top}"]["scale"]))
        made = rows.cut(x * gains, VARIANTS["w12a13"], r)
        assert same(made.q, whole(case["by length"]["integers"]))
        assert same(made.scale, floats(case["by length"]["scale"]))


def test_rotations() -> None:
    for case in VECTORS["rotations"]:
        scaling = None if case["scaling"] is None else Llama3Scaling(**case["scaling"])
        sized = {**vectors.PLAIN, "head_dim": case["head_dim"]}
        config = DecoderConfig("llama", **sized, rope_theta=case["theta"], rope_scaling=scaling)
        positions = [p for p in whole(case["positions"]).tolist() if p < 5000]
        table = rotary_table(config, max(positions) + 1)
        shape = (len(whole(case["positions"])), case["head_dim"] // 2)
        for found, expected in zip(table, ("cosines", "sines"), strict=True):
            assert np.array_equal(
                found[positions], floats(case[expected], *shape)[: len(positions)]
            )
        many = np.concatenate((table[0][1000:1400], table[1][1000:1400])).astype("<f4")
        assert hashlib.sha256(many.tobytes()).hexdigest() == case["sha256 of 1000 .. 1399"]
        numbers = ExactArithmetic(config, VARIANTS["w7a8"], CPU)
        head = tensor(case["head"], 1, 1, case["head_dim"])
        turned = numbers.rotated(head, numbers.rotations(101)[positions[4] : positions[4] + 1])
        assert same(turned, floats(case["rotated"]))


def test_silu() -> None:
    case = VECTORS["silu"]
    assert same(sigmoid_linear(tensor(case["inputs"])), floats(case["results"]))


@pytest.mark.parametrize(
    "case", VECTORS["attentions"], ids=lambda case: f"{case['name']} {case['M']}"
)
def test_attention(case: dict[str, Any]) -> None:
    attends(case, VARIANTS["w7a8" if case["M"] == 1023 else "w13a15"])


@pytest.mark.parametrize("case", VECTORS["attentions by length"], ids=lambda case: case["name"])
def test_attention_by_length(case: dict[str, Any]) -> None:
    attends(case, VARIANTS["w12a13"])


def attends(case: dict[str, Any], variant: Variant) -> None:
    attention = ExactAttention(variant, CPU)
    q, k, v = (tensor(case[name], 1, -1, 8) for name in ("query", "keys", "values"))
    key, key_scale, value, value_scale = attention.held(k, v)
    seen = (key.transpose(1, 2), key_scale.transpose(1, 2), value, value_scale.transpose(1, 2))
    scale = torch.tensor(8**-0.5, dtype=torch.float64).float()
    assert same(attention(q, seen, torch.zeros(1, 1, k.shape[1]), scale), floats(case["results"]))


def test_scales_of_scores() -> None:
    case = VECTORS["score scales"]
    for size, t in zip(whole(case["head sizes"]).tolist(), floats(case["t"]), strict=True):
        config = DecoderConfig("llama", **{**vectors.PLAIN, "head_dim": size})
        assert float(ExactArithmetic(config, VARIANTS["w7a8"], CPU)._scale) == float(t)


def test_samples_and_logarithms() -> None:
    for case in VECTORS["samples"]:
        logits = tensor(case["logits"], 1, -1)
        for each in case["cases"]:
            temperature = tensor(each["temperature"], 1, 1)
            greedy = temperature == 0
            draw = Draw(tensor(each["u"], 1, 1), torch.where(greedy, 1.0, temperature), greedy)
            token, logprob = sample(logits, draw)
            assert (int(token), float(logprob)) == (
                each["token"],
                float(floats(each["logprob"])[0]),
            )
    case = VECTORS["logarithms"]
    totals = torch.from_numpy(whole(case["p"])).double()
    assert same(logarithm(totals), floats(case["ln"]))


def engine(family: str, variant: str, compact: bool = False) -> LocalEngine:
    config = vectors.CONFIGS[family]
    made = LocalEngine(config, arithmetic=ExactArithmetic(config, VARIANTS[variant], CPU, compact))
    made.load({name: torch.from_numpy(w) for name, w in vectors.weights(config).items()})
    return made


@pytest.mark.parametrize("case", VECTORS["models"], ids=lambda c: f"{c['family']} {c['variant']}")
def test_whole_models(case: dict[str, Any]) -> None:
    made = engine(case["family"], case["variant"])
    for name in ("sampled", "greedy"):
        expected = case[name]
        tokens = whole(expected["tokens"]).tolist()
        request = Request(
            key=name, prompt=tuple(whole(case["prompt"]).tolist()), seed=int(expected["seed"]),
            num_rollouts=expected["rollout"] + 1, max_new_tokens=len(tokens),
            temperature=expected["temperature"],
        )  # fmt: skip
        (rollouts,) = made.generate([request])
        found = rollouts[expected["rollout"]]
        assert list(found.tokens) == tokens
        assert np.array_equal(np.float32(found.logprobs), floats(expected["logprobs"]))


@st.composite
def worlds(draw: Any) -> tuple[DecoderConfig, str, bool]:
    """Shapes at which libraries change their way, of any family."""
    kv, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    family: Family = draw(st.sampled_from(EXACT_FAMILIES))
    config = DecoderConfig(
        family, vocab_size=draw(st.integers(2, 70)), hidden_size=draw(st.integers(2, 40)),
        num_layers=draw(st.integers(1, 2)), num_heads=kv * group, num_kv_heads=kv,
        head_dim=2 * draw(st.integers(1, 9)), intermediate_size=draw(st.integers(1, 70)),
        max_position_embeddings=512, tie_embeddings=draw(st.booleans()),
    )  # fmt: skip
    return config, draw(st.sampled_from(sorted(VARIANTS))), draw(st.booleans())


@settings(deadline=None, max_examples=12)
@given(worlds(), st.integers(1, 12), st.integers(1, 5), st.sampled_from([0.0, 0.3, 1.0, 1.7]))
def test_engine_and_oracle_agree_on_any_model(
    world: tuple[DecoderConfig, str, bool], prompt_length: int, num_new: int, temperature: float
) -> None:
    config, variant, compact = world
    weights = vectors.weights(config)
    prompt = [int(n) for n in vectors.mixed(prompt_length, prompt_length) % config.vocab_size]
    numbers = ExactArithmetic(config, VARIANTS[variant], CPU, compact)
    made = LocalEngine(config, arithmetic=numbers)
    made.load({name: torch.from_numpy(w) for name, w in weights.items()})
    request = Request(
        key="one", prompt=tuple(prompt), seed=5, num_rollouts=2, max_new_tokens=num_new,
        temperature=temperature,
    )  # fmt: skip
    (found,) = made.generate([request])
    tokens, logprobs = oracle.generate(
        config, weights, oracle.VARIANTS[variant], prompt, seed=5, rollout=1, num_new=num_new,
        temperature=temperature,
    )  # fmt: skip
    assert list(found[1].tokens) == list(tokens)
    assert np.array_equal(np.float32(found[1].logprobs), np.float32(logprobs))


def test_every_backend_of_this_machine_is_proven_or_absent() -> None:
    assert "float64" in [each.name for each in proven(CPU)]


def refused_by(config: DecoderConfig, state: dict[str, Tensor]) -> str:
    made = LocalEngine(config, arithmetic=ExactArithmetic(config, VARIANTS["w7a8"], CPU))
    with pytest.raises((WrongWeights, NoBackend)) as refusal:
        made.load(state)
    return str(refusal.value)


def test_what_cannot_be_exact_is_refused_by_name() -> None:
    config = vectors.CONFIGS["llama"]
    state = {name: torch.from_numpy(w) for name, w in vectors.weights(config).items()}
    name = "model.norm.weight"
    finer, endless = state[name].clone(), state[name].clone()
    finer[0], endless[0] = 1 + 2.0**-20, torch.inf
    assert f"{name} holds numbers that are not bf16" in refused_by(config, {**state, name: finer})
    assert f"{name} holds infinite numbers" in refused_by(config, {**state, name: endless})


def test_a_product_of_too_many_inputs_is_refused() -> None:
    with pytest.raises(NoBackend, match="expected at most 131072 inputs"):
        ExactProjection(torch.ones(1, 131_073), None, VARIANTS["w13a15"])
    with pytest.raises(NoBackend, match="expected at most 131072 inputs"):
        ExactProjection(torch.ones(1, 131_073), None, VARIANTS["w12a13"])


def test_a_row_that_is_not_finite_is_never_sampled_from() -> None:
    config = vectors.CONFIGS["qwen2"]
    state = {name: torch.from_numpy(w) for name, w in vectors.weights(config).items()}
    state["model.layers.0.self_attn.k_proj.bias"] = torch.full_like(
        state["model.layers.0.self_attn.k_proj.bias"], torch.finfo(torch.bfloat16).max
    )
    for compact in (False, True):
        numbers = ExactArithmetic(config, VARIANTS["w7a8"], CPU, compact)
        made = LocalEngine(config, arithmetic=numbers)
        made.load(state)
        with pytest.raises(NonFiniteLogits):
            made.generate([Request("one", (3, 4, 5), 1, 2, 4)])


def test_a_backend_that_fails_its_vector_is_not_used() -> None:
    class Rounding:
        name = "rounding"

        def can_take(self, inputs: int, largest: int) -> bool:
            return True

        def pack(self, digits: Tensor, largest: int) -> Any:
            class Packed:
                form = "floats"

                def times(self, x: Tensor) -> Tensor:
                    return (x.bfloat16() @ digits.bfloat16().t()).float()

            return Packed()

    assert not backends._answers_exactly(Rounding(), CPU)
    assert all(backends._answers_exactly(each, CPU) for each in proven(CPU))


class Coarse:
    """As a library does that is allowed to multiply f32 with fewer bits."""

    name = "coarse"

    def __init__(self, cut: Any) -> None:
        self._cut = cut

    def pack(self, whole: Tensor) -> Any:
        cut = self._cut

        class Packed:
            form = "floats"

            def times(self, x: Tensor) -> Tensor:
                return cut(x) @ cut(whole).t()

        return Packed()


def _tf32(x: Tensor) -> Tensor:
    return (x.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize("cut", [lambda x: x.bfloat16().float(), _tf32], ids=["bf16", "tf32"])
def test_a_whole_product_of_fewer_bits_is_not_used(cut: Any) -> None:
    assert not ways._answers_exactly(Coarse(cut), CPU)
    assert ways._answers_exactly(Coarse(lambda x: x), CPU)
    assert {"float32", "float64"} <= {each.name for each in ways.proven(CPU)}


FINITE = st.floats(-(2.0**80), 2.0**80, width=32)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3000), st.lists(FINITE, min_size=1, max_size=7), st.integers(0, 2**32 - 1))
def test_no_partial_sum_of_rows_cut_by_length_leaves_f32(
    width: int, spikes: list[float], seed: int
) -> None:
    """The longest of all sums is the one over the places where both have the same sign."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, width, generator=generator)
    x[0, : len(spikes)] = torch.tensor(spikes)[:width]
    (a, _), (w, _) = rows.quantise_by_length(x[:1]), rows.quantise_by_length(x[1:], 2047)
    assert float(w.abs().max()) <= 2047
    for each in (a, w):
        assert int(each.long().square().sum()) <= 4096**2
    steps = (a.long() * w.long()).view(-1)
    assert max(int(steps.clamp(min=0).sum()), -int(steps.clamp(max=0).sum())) <= 2**24


def test_the_room_left_for_rounding_is_half_the_root_of_the_width_rounded_up() -> None:
    for width in range(1, 5000):
        left = 4095 - rows.room_of(width)
        assert 4 * left * left >= width > 4 * (left - 1) * (left - 1)
    evil = torch.full((1, 131072), 1.0)
    q, _ = rows.quantise_by_length(evil)
    assert int(q.long().square().sum()) <= 4096**2


def test_a_machine_without_exact_products_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, variant in ((backends, "w7a8"), (ways, "w12a13")):
        monkeypatch.setattr(module, "proven", lambda device: ())
        with pytest.raises(NoBackend, match="no exact product of 24 inputs on this machine"):
            ExactProjection(torch.ones(2, 24), None, VARIANTS[variant])
