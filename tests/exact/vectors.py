"""Golden vectors of the exact contract: small inputs and what the oracle makes of them.

`python tests/exact/vectors.py` (with src and tests on the path) writes tests/vectors/exact-1.json anew, which
must change nothing while the contract is version 1. Rows of numbers are text: f32 and f64 as the hexadecimal
digits of their bits, integers in decimals, `x*n` for n times x.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy import float32 as f32

from archipel.model.config import DecoderConfig, Llama3Scaling
from exact import oracle
from exact.oracle import VARIANTS, Floats, Integers, Weights
from exact.oracle_tables import digests, identity

FILE = Path(__file__).parents[1] / "vectors" / "exact-1.json"
LARGEST = float(np.finfo(f32).max)


def bits(values: Any) -> str:
    """A row of floats as text: eight (f32) or sixteen (f64) digits each."""
    array = np.ravel(values)
    assert array.dtype in (np.float32, np.float64), array.dtype
    kind = f"u{array.dtype.itemsize}"
    return _joined(f"{int(x):0{array.dtype.itemsize * 2}x}" for x in array.view(kind))


def integers(values: Any) -> str:
    return _joined(str(int(x)) for x in np.ravel(values))


def _joined(words: Iterable[str]) -> str:
    runs = ((word, len(list(run))) for word, run in groupby(words))
    return " ".join(word if count == 1 else f"{word}*{count}" for word, count in runs)


def _words(text: str) -> list[str]:
    runs = (word.partition("*") for word in text.split())
    return [word for word, _, count in runs for _ in range(int(count or 1))]


def floats(text: str, *shape: int) -> Any:
    """The array that `bits` wrote, in the shape given."""
    words = _words(text)
    wide = len(words[0]) == 16
    array = np.array([int(word, 16) for word in words], np.uint64 if wide else np.uint32)
    return array.view(np.float64 if wide else f32).reshape(shape or (-1,))


def whole(text: str, *shape: int) -> Integers:
    """The array that `integers` wrote, in the shape given."""
    return np.array([int(word) for word in _words(text)], np.int64).reshape(shape or (-1,))


# Numbers from a formula.


def mixed(start: int, count: int) -> Integers:
    """Words of 32 bits that look random, of the integers from `start` on."""
    h = (np.arange(start, start + count, dtype=np.uint64) * np.uint64(2654435761)) % 2**32
    h ^= h >> np.uint64(15)
    h = h * np.uint64(2246822519) % 2**32
    return (h ^ (h >> np.uint64(13))).astype(np.int64)


def row(start: int, *shape: int) -> Floats:
    """f32 numbers of 24 bits in -2 .. 2."""
    h = mixed(start, int(np.prod(shape)))
    return (((h >> 8) - 2**23) / 2**22).astype(f32).reshape(shape)


def matrix(start: int, *shape: int) -> Floats:
    """bf16 numbers of 8 bits in -1/2 .. 1/2, in four sizes."""
    h = mixed(start, int(np.prod(shape)))
    return (((h >> 24) - 128) / 2.0 ** (8 + (h & 3))).astype(f32).reshape(shape)


def gains(start: int, count: int) -> Floats:
    """bf16 numbers in 3/4 .. 5/4, as weights of a norm."""
    return (1 + ((mixed(start, count) >> 26) - 32) / 128).astype(f32)


def shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Hugging Face names and shapes of a decoder's weights."""
    d, inner, D = config.hidden_size, config.intermediate_size, config.head_dim
    q, kv = config.num_heads * D, config.num_kv_heads * D
    names: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config.vocab_size, d),
        "model.norm.weight": (d,),
    }
    if not config.tie_embeddings:
        names["lm_head.weight"] = (config.vocab_size, d)
    before, after = ("input_layernorm", "post_feedforward_layernorm")
    layer: dict[str, tuple[int, ...]] = {
        (before if config.norm_placement == "pre" else after) + ".weight": (d,),
        "post_attention_layernorm.weight": (d,),
        "self_attn.o_proj.weight": (d, q),
        "mlp.gate_proj.weight": (inner, d),
        "mlp.up_proj.weight": (inner, d),
        "mlp.down_proj.weight": (d, inner),
    }
    for name, size in (("q", q), ("k", kv), ("v", kv)):
        layer[f"self_attn.{name}_proj.weight"] = (size, d)
        if config.qkv_bias:
            layer[f"self_attn.{name}_proj.bias"] = (size,)
        if config.qk_norm != "none" and name != "v":
            width = D if config.qk_norm == "head" else size
            layer[f"self_attn.{name}_norm.weight"] = (width,)
    for number in range(config.num_layers):
        names |= {f"model.layers.{number}.{name}": shape for name, shape in layer.items()}
    return names


def weights(config: DecoderConfig) -> Weights:
    """Tensor number n in order of names takes the words from n * 2^20 on."""
    return {
        name: gains(n << 20, *shape) if name.endswith("norm.weight") else matrix(n << 20, *shape)
        for n, (name, shape) in enumerate(sorted(shapes(config).items()))
    }


# The vectors, clause by clause.


def quantised() -> list[dict[str, Any]]:
    ties = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.25]
    rows = {
        "zeros": [0.0, -0.0, 0.0],
        "subnormals": [2.0**-149, -(2.0**-140), 2.0**-127],
        "at the floor": [2.0**-60, -(2.0**-61), 2.0**-63, 2.0**-74],
        "one huge": [LARGEST, 1.0, -1e30, LARGEST / 300, -LARGEST],
        "mixed": row(1, 9),
    }
    cases = [(name, x, top) for top in (63, 127, 8001, 16383, 32767) for name, x in rows.items()]
    cases += [("ties", [*ties, top * 1.0], top) for top in (63, 127, 8001, 16383, 32767)]
    result = []
    for name, values, top in cases:
        x = np.array(values, f32)
        q, s = oracle.quantised(x, top)
        result.append(
            {"name": name, "row": bits(x), "top": top, "integers": integers(q), "scale": bits(s)}
        )
    return result


def by_length() -> list[dict[str, Any]]:
    """As 1.6 has it; the rows of 576 are what a product's are like, with and without one outlier."""
    wild = row(200, 576)
    wild[100] = 300
    rows = {
        "zeros": [0.0, -0.0, 0.0],
        "subnormals": [2.0**-149, -(2.0**-140), 2.0**-127],
        "one huge": [LARGEST, 1.0, -1e30, LARGEST / 300, -LARGEST],
        "alone": [-3.0],
        "few": row(1, 9),
        "many": row(200, 576),
        "an outlier": wild,
        "all alike": np.full(1025, 0.5),
    }
    result = []
    for name, values in rows.items():
        x = np.array(values, f32)
        for top in (None, 2047):
            q, s = oracle.by_length(x, top)
            each = {"name": name, "row": bits(x), "top": top}
            result.append(each | {"integers": integers(q), "scale": bits(s)})
    return result


def digits() -> dict[str, str]:
    q = np.array([-8001, -8000, -7938, -191, -190, -127, -64, -63, 0, 63, 64, 190, 191, 7937, 8001])
    hi, lo = oracle.digits(q, 2)
    return {"integers": integers(q), "hi": integers(hi), "lo": integers(lo)}


def roundings() -> dict[str, str]:
    """Integers as f32 (1.1); the last two are wrong by way of f64, which rounds a first time."""
    n = np.array(
        [2**24 - 1, 2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**60 + 2**36 + 1, -(2**60) - 2**36 - 1]
    )
    return {"integers": integers(n), "f32": bits(n.astype(f32))}


def products() -> list[dict[str, Any]]:
    full = np.ones((2, 4099), f32)
    full[1, :1000] = -1
    # One smaller number makes the sum odd and above 2^24, so that f32 has to round it.
    nearly = full.copy()
    nearly[:, -1] = f32(125 / 127)
    longest = np.ones((1, 131072), f32)
    cases: list[tuple[str, Floats, Floats, Floats | None]] = [
        ("mixed", matrix(10, 5, 24), row(20, 3, 24), None),
        ("with a bias", matrix(30, 5, 24), row(40, 2, 24), matrix(50, 5)),
        ("a row and an output of zeros", matrix(60, 2, 7) * [[0], [1]], row(70, 2, 7) * [[1], [0]], None),
        # High digits alone make sums above 2^24 here, so each step of 3.3 rounds.
        ("large", gains(180, 2 * 192).reshape(2, 192), 1 + row(190, 4, 192) / 16, None),
        ("saturated", full, nearly, None),
        ("longest", longest, longest, None),
    ]  # fmt: skip
    result = []
    for name, w, x, bias in cases:
        w, x = w.astype(f32), x.astype(f32)
        each: dict[str, Any] = {"name": name, "in": w.shape[1], "weights": bits(w), "rows": bits(x)}
        each["bias"] = None if bias is None else bits(bias)
        each["results"] = {n: bits(oracle.product(w, x, v, bias)) for n, v in VARIANTS.items()}
        result.append(each)
    return result


def norms() -> list[dict[str, Any]]:
    cases = [("mixed", row(80, 24), 1e-6), ("other epsilon", row(90, 7) * f32(1 / 64), 1e-5)]
    cases += [("zeros", np.zeros(5, f32), 1e-6), ("huge", np.full(3, LARGEST, f32), 1e-6)]
    cases += [("alone", row(100, 1), 1e-6)]
    result = []
    for name, x, epsilon in cases:
        g = gains(110, len(x)) * f32(0.5)
        each: dict[str, Any] = {"name": name, "row": bits(x), "gains": bits(g)}
        each |= {"epsilon": bits(np.float64(epsilon)), "r": bits(oracle.inverse_rms(x, epsilon))}
        each["normed"] = bits(oracle.normed(x, g, epsilon))
        for v in (VARIANTS["w7a8"], VARIANTS["w7a15"]):
            q, s = oracle.normed_and_quantised(x, g, epsilon, v)
            each[f"top {v.row_top}"] = {"integers": integers(q), "scale": bits(s)}
        q, s = oracle.normed_and_quantised(x, g, epsilon, VARIANTS["w12a13"])
        each["by length"] = {"integers": integers(q), "scale": bits(s)}
        result.append(each)
    return result


PLAIN = {
    "vocab_size": 48, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2,
    "head_dim": 8, "intermediate_size": 56, "max_position_embeddings": 8192,
}  # fmt: skip
LLAMA3 = Llama3Scaling(8.0, 1.0, 4.0, 512)
CONFIGS = {
    "llama": DecoderConfig("llama", **PLAIN, rope_theta=500_000.0, rope_scaling=LLAMA3),
    "qwen2": DecoderConfig("qwen2", **PLAIN, rope_theta=1_000_000.0),
    "qwen3": DecoderConfig("qwen3", **PLAIN, tie_embeddings=False),
    "olmo2": DecoderConfig("olmo2", **PLAIN, norm_epsilon=1e-5, tie_embeddings=False),
}


def rotations() -> list[dict[str, Any]]:
    positions = [0, 1, 2, 3, 100, 511, 4095, 131071, 4194303]
    sized = {**PLAIN, "head_dim": 64}
    configs = [DecoderConfig("llama", **sized, rope_theta=theta) for theta in (1e4, 1e6)]
    configs.append(DecoderConfig("llama", **sized, rope_theta=5e5, rope_scaling=LLAMA3))
    result = []
    for config in configs:
        scaling = config.rope_scaling
        each: dict[str, Any] = {"head_dim": config.head_dim, "theta": config.rope_theta}
        each["scaling"] = None if scaling is None else asdict(scaling)
        c, s = oracle.rotation(config, positions)
        each |= {"steps": integers(oracle.steps(config)), "positions": integers(positions)}
        each |= {"cosines": bits(c), "sines": bits(s)}
        # Enough of them that a table entry off by one unit of 2^-30 shows.
        many = np.concatenate(oracle.rotation(config, range(1000, 1400))).astype("<f4")
        each["sha256 of 1000 .. 1399"] = hashlib.sha256(many.tobytes()).hexdigest()
        head = row(120, 1, 1, config.head_dim)
        each |= {"head": bits(head), "rotated": bits(oracle.rotated(head, c[4:5], s[4:5]))}
        result.append(each)
    return result


def silu() -> dict[str, str]:
    y = np.array(
        [0, -0.0, 1, -1, 2**-12, 3 * 2**-12, -(2**-12), 16, -16, 17, -17, 1e30, -1e30, LARGEST]
    )
    y = np.concatenate((y.astype(f32), row(130, 8) * f32(4)))
    return {"inputs": bits(y), "results": bits(oracle.silu(y))}


def attentions(names: tuple[str, ...] = ("w7a8", "w13a15")) -> list[dict[str, Any]]:
    keys, values = row(140, 7, 8) * f32(1.5), row(150, 7, 8)
    values[2] = 0
    values[4] *= f32(6)
    keys[5] = row(160, 8) * f32(-40)
    result = []
    for name, count in (("alone", 1), ("several", 7)):
        for variant in (VARIANTS[each] for each in names):
            rows = (row(160, 8), keys[:count], values[:count])
            parts = [oracle.cut_head(x, variant) for x in rows[:2]]
            parts.append(oracle.quantised(rows[2], variant.attention_top))
            g, mixture = oracle.attention(*parts, variant)
            each: dict[str, Any] = {"name": name, "top": variant.attention_top, "M": variant.M}
            each |= dict(zip(("query", "keys", "values"), map(bits, rows), strict=True))
            result.append(each | {"g": integers(g), "results": bits(mixture)})
    return result


def score_scales() -> dict[str, str]:
    sizes = [*range(2, 130, 2), 160, 192, 256, 512, 1024]
    scales = np.array([oracle.score_scale(D) for D in sizes])
    return {"head sizes": integers(sizes), "t": bits(scales)}


def uniforms() -> list[dict[str, Any]]:
    places = [
        (0, 0, 0),
        (0, 0, 1),
        (1, 0, 0),
        (2**64 - 1, 2**32 - 1, 7),
        (0x0123456789ABCDEF, 5, 1000),
    ]
    return [
        {
            "seed": str(s),
            "rollout": r,
            "position": p,
            "u": bits(np.float64(oracle.uniform(s, r, p))),
        }
        for s, r, p in places
    ]


def samples() -> list[dict[str, Any]]:
    logits = np.concatenate((row(170, 9) * f32(2), np.array([5, -40, 5, 4.75, -3e33], f32)))
    edges = [2.0**-51, 0.25, 0.5, oracle.uniform(7, 1, 0), 1 - 2.0**-51]
    # Half of two equal chances is reached by the second token only.
    return [_samples(logits, edges), _samples(np.ones(2, f32), [0.5, 0.5 - 2.0**-51])]


def _samples(logits: Floats, edges: list[float]) -> dict[str, Any]:
    cases = []
    for temperature in (1.0, 0.7, 1.5, 1 / 64, 0.0):
        for u in edges[: None if temperature else 1]:
            token, logprob = oracle.sample(logits, u, temperature, greedy=not temperature)
            cases.append(
                {"temperature": bits(f32(temperature)), "u": bits(np.float64(u)), "token": token}
                | {"logprob": bits(logprob)}
            )
    return {"logits": bits(logits), "cases": cases}


def logarithms() -> dict[str, str]:
    ps = [
        1,
        2,
        3,
        2**30 - 1,
        2**30,
        2**30 + 1,
        1_073_741_824 + 2**20,
        123_456_789_012,
        2**50 - 1,
        2**50,
    ]
    return {"p": integers(ps), "ln": bits(np.array([oracle.logarithm(p) for p in ps]))}


PROMPT = [3, 17, 0, 47, 5, 5, 29, 11, 40]


def models() -> list[dict[str, Any]]:
    return [_model(family, name) for family in CONFIGS for name in VARIANTS]


def _model(family: str, variant: str) -> dict[str, Any]:
    config, v = CONFIGS[family], VARIANTS[variant]
    state = weights(config)
    logits = oracle.logits(config, state, v, PROMPT)
    each: dict[str, Any] = {"family": family, "variant": variant, "prompt": integers(PROMPT)}
    each["logits sha256"] = hashlib.sha256(logits.astype("<f4").tobytes()).hexdigest()
    each["last row"] = bits(logits[-1])
    for name, temperature, num_new in (("sampled", 0.8, 5), ("greedy", 0.0, 3)):
        chosen = {"seed": 1234567890123456789, "rollout": 3, "temperature": temperature}
        tokens, logprobs = oracle.generate(config, state, v, PROMPT, num_new=num_new, **chosen)  # type: ignore[arg-type]
        chosen |= {"seed": str(chosen["seed"]), "tokens": integers(tokens)}
        each[name] = chosen | {"logprobs": bits(np.array(logprobs, f32))}
    return each


def described(config: DecoderConfig) -> dict[str, Any]:
    """What the contract reads of a configuration."""
    names = [*PLAIN, "norm_epsilon", "rope_theta", "tie_embeddings"]
    scaling = None if config.rope_scaling is None else asdict(config.rope_scaling)
    return {name: getattr(config, name) for name in names} | {"rope_scaling": scaling}


def made() -> dict[str, Any]:
    """Everything in the file, by the oracle."""
    state_digests = {
        family: hashlib.sha256(
            b"".join(tensor.tobytes() for _, tensor in sorted(weights(config).items()))
        ).hexdigest()
        for family, config in CONFIGS.items()
    }
    return {
        "format": "archipel exact contract vectors 1",
        "tables": digests(),
        "identities": {name: identity(name) for name in VARIANTS},
        "quantised": quantised(),
        "quantised by length": by_length(),
        "digits": digits(),
        "roundings": roundings(),
        "products": products(),
        "norms": norms(),
        "rotations": rotations(),
        "silu": silu(),
        "score scales": score_scales(),
        "attentions": attentions(),
        "attentions by length": attentions(("w12a13",)),
        "uniforms": uniforms(),
        "samples": samples(),
        "logarithms": logarithms(),
        "configs": {family: described(config) for family, config in CONFIGS.items()},
        "weights sha256": state_digests,
        "models": models(),
    }


def as_text(vectors: dict[str, Any]) -> str:
    return json.dumps(vectors, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(as_text(made()))
