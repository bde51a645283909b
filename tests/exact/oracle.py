"""The exact contract (docs/reference/exact.md) once more, slowly, for comparison; numbers are its clauses.

Parts: variants; numbers and products; norm; rotation; attention; the network; sampling; generation.
Law: written from the text alone; shares no code with the engine. Sums are int64 or Python integers,
everything else is one IEEE operation at a time on float32 or float64 arrays.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import numpy as np
from numpy import float32 as f32
from numpy import float64 as f64
from numpy import int64
from numpy.typing import NDArray

from archipel.model.config import DecoderConfig
from exact.oracle_tables import ONE, PI, tables

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Weights = Mapping[str, Floats]


class NotFinite(ValueError):
    """A result depends on an infinity or a nan (1.3): the request is refused."""


@dataclass(frozen=True)
class Variant:
    """One row of the table of 2.1 and what 2.2 says of it."""

    name: str
    weight_digits: int
    row_digits: int
    attention_top: int
    M: int
    by_length: bool = False

    @property
    def weight_top(self) -> int:
        return (63, 8001)[self.weight_digits - 1]

    @property
    def row_top(self) -> int:
        return (127, 8001)[self.row_digits - 1]


VARIANTS = {
    each.name: each
    for each in (
        Variant("w7a8", 1, 1, 127, 1023),
        Variant("w12a13", 1, 1, 127, 2**20 - 1, by_length=True),
        Variant("w7a15", 1, 2, 127, 1023),
        Variant("w13a15", 2, 2, 16383, 2**20 - 1),
    )
}


# 1. Numbers; 3. Products.


def finite(x: Floats) -> Floats:
    """1.3."""
    if not np.isfinite(x).all():
        raise NotFinite("a value is not finite; the contract defines no result")
    return x


def rne(x: Floats) -> Integers:
    """1.1: the nearest integers, ties to even."""
    return np.rint(x).astype(int64)


def greatest(rows: Floats) -> Floats:
    """1.4: `m` of each row (..., n) -> (...)."""
    return np.maximum(np.abs(finite(rows)).max(-1), f32(2.0**-60))


def quantised(rows: Floats, top: int) -> tuple[Integers, Floats]:
    """1.4: integers (..., n) and scales (...) of rows (..., n)."""
    m = greatest(rows)
    c = f32(top) / m
    return rne(rows * c[..., None]), m / f32(top)


def by_length(rows: Floats, top: int | None = None) -> tuple[Integers, Floats]:
    """1.6: integers (..., n) and scales (...) of rows (..., n), by their length."""
    q, s = quantised(rows, 32767)
    N, n, r = np.maximum((q * q).sum(-1), 1), rows.shape[-1], 0
    while 4 * r * r < n:
        r += 1
    c = (f64(4095 - r) / np.sqrt(N.astype(f64))).astype(f32)
    if top is not None:
        c = np.minimum(c, f32(top) / f32(32767))
    return rne(q.astype(f32) * c[..., None]), s / c


def cut(rows: Floats, variant: Variant) -> tuple[Integers, Floats]:
    """3.2: rows before a product."""
    return by_length(rows) if variant.by_length else quantised(rows, variant.row_top)


def digits(q: Integers, number: int) -> tuple[Integers, ...]:
    """1.5: (q,), or (hi, lo); floor((2 q + 127) / 254) is rne(q / 127), as there are no ties."""
    if number == 1:
        return (q,)
    hi = (2 * q + 127) // 254
    return hi, q - 127 * hi


def summed(a: Integers, w: Integers) -> Floats:
    """3.3: rows (..., in) times weights (out, in), summed exactly, then one rounding -> (..., out)."""
    sums = [(row * w).sum(-1) for row in a.reshape(-1, a.shape[-1])]
    return np.array(sums, int64).reshape(*a.shape[:-1], len(w)).astype(f32)


Quantised = tuple[Integers, Floats]


def product(weights: Floats, rows: Floats, variant: Variant, bias: Floats | None = None) -> Floats:
    """3: rows (..., in) f32 by weights (out, in) -> (..., out)."""
    return product_of(weights, cut(rows, variant), variant, bias)


@np.errstate(over="ignore")
def product_of(
    weights: Floats, rows: Quantised, variant: Variant, bias: Floats | None = None
) -> Floats:
    """3.1, 3.3 to 3.5 with rows that are integers and scales already."""
    if variant.by_length:
        w_all, s_w = by_length(weights, 2047)
        w: tuple[Integers, ...] = (w_all,)
    else:
        w = digits(quantised(weights, variant.weight_top)[0], variant.weight_digits)
        s_w = greatest(weights) / f32(63)
    a, s_a = digits(rows[0], variant.row_digits), rows[1]
    y = summed(a[0], w[0])
    if len(a) == 2:
        y = f32(127) * y + summed(a[1], w[0])
    if len(w) == 2:
        y = y + summed(a[0], w[1])
    result = y * s_w * s_a[..., None]
    return finite(result if bias is None else result + bias)


# 4. Norm.


def inverse_rms(rows: Floats, epsilon: float) -> Floats:
    """4.1: `r` of rows (..., n) -> (...)."""
    q = quantised(rows, 32767)[0]
    u = greatest(rows).astype(f64) / f64(32767)
    v = (q * q).sum(-1).astype(f64) * (u * u) / f64(rows.shape[-1])
    return (f64(1) / np.sqrt(v + f64(epsilon))).astype(f32)


@np.errstate(over="ignore")
def normed_and_quantised(rows: Floats, g: Floats, epsilon: float, variant: Variant) -> Quantised:
    """4.2."""
    q, s = cut(rows * g, variant)
    return q, s * inverse_rms(rows, epsilon)


def normed(rows: Floats, g: Floats, epsilon: float) -> Floats:
    """4.3."""
    return rows * inverse_rms(rows, epsilon)[..., None] * g


# 5.3, 9.4. Rotation.


def steps(config: DecoderConfig) -> list[int]:
    """9.4: `step_i` of each pair."""
    with localcontext(prec=60, rounding=ROUND_HALF_EVEN):
        log, two_pi = Decimal(config.rope_theta).ln(), Decimal(2 * PI) / Decimal(ONE)
        result = []
        for i in range(config.head_dim // 2):
            f = (log * (-2 * i) / config.head_dim).exp()
            if (scaling := config.rope_scaling) is not None:
                low, high = Decimal(scaling.low_freq_factor), Decimal(scaling.high_freq_factor)
                turns = scaling.original_max_position_embeddings * f / two_pi
                kept = min(max((turns - low) / (high - low), Decimal(0)), Decimal(1))
                f = (1 - kept) * f / Decimal(scaling.factor) + kept * f
            result.append(int(f / two_pi * 2**64 + Decimal("0.5")) % 2**64)
        return result


def point(t: int) -> tuple[int, int]:
    """9.4: cosine and sine of t / 2^32 of a turn in units of 2^-20."""
    places = (t >> 21, (t >> 10) & 2047, t & 1023)
    entries = [(int(c[k]), int(s[k])) for (c, s), k in zip(tables().arcs, places, strict=True)]
    c, s = entries[0]
    for c1, s1 in entries[1:]:
        c, s = (c * c1 - s * s1 + 2**29) >> 30, (s * c1 + c * s1 + 2**29) >> 30
    return (c + 2**9) >> 10, (s + 2**9) >> 10


def rotation(config: DecoderConfig, positions: Iterable[int]) -> tuple[Floats, Floats]:
    """9.4: cosines and sines (T, D / 2) for positions counted from the first token."""
    all_steps = steps(config)
    points = [[point((p * step % 2**64) >> 32) for step in all_steps] for p in positions]
    both = np.array(points, f64) / 2**20
    return both[..., 0].astype(f32), both[..., 1].astype(f32)


def rotated(heads: Floats, c: Floats, s: Floats) -> Floats:
    """5.3: heads (T, H, D), c and s (T, D / 2)."""
    h, c, s = heads.shape[-1] // 2, c[:, None], s[:, None]
    x, y = heads[..., :h], heads[..., h:]
    return np.concatenate((x * c + y * -s, y * c + x * s), axis=-1)


# 6. Attention.


def score_scale(D: int) -> np.float32:
    """6.2: `t`."""
    return (f64(1) / np.sqrt(f64(D))).astype(f32)


@np.errstate(over="ignore")
def attention(
    query: Quantised, keys: Quantised, values: Quantised, variant: Variant
) -> tuple[Integers, Floats]:
    """6.2 to 6.5: one query (D), keys and values (J, D) -> the integers `g` (J) and the results (D)."""
    (q, s_q), (k, s_k), (v, s_v) = query, keys, values
    t = score_scale(len(q))
    a = (q * k).sum(-1).astype(f32) * (s_q * t) * s_k
    b = a - finite(a.max())  # of minus infinity: past the limit (6.3)
    e = tables().E[rne(np.minimum(b * f32(-4096), f32(65536)))]
    w_j = finite(e.astype(f32) * s_v)
    w, M = w_j.max(), f32(variant.M)
    g = rne(w_j * (M / w))
    mixed = (g[:, None] * v).sum(0).astype(f32)
    return g, mixed * (w / (e.sum().astype(f32) * M))


def cut_head(rows: Floats, variant: Variant) -> Quantised:
    """6.1, 6.7: queries or keys."""
    return by_length(rows) if variant.by_length else quantised(rows, variant.attention_top)


def attend(q: Floats, k: Floats, v: Floats, variant: Variant) -> Floats:
    """6: queries (T, Hq, D), keys and values (T, Hkv, D) -> (T, Hq D)."""
    (q, s_q), (k, s_k) = (cut_head(rows, variant) for rows in (q, k))
    v, s_v = quantised(v, variant.attention_top)
    group = q.shape[1] // k.shape[1]
    results = np.empty(q.shape, f32)
    for t, head in np.ndindex(q.shape[:2]):
        j = (slice(t + 1), head // group)
        query = (q[t, head], s_q[t, head])
        results[t, head] = attention(query, (k[j], s_k[j]), (v[j], s_v[j]), variant)[1]
    return results.reshape(len(results), -1)


# 5. The network.


@dataclass(frozen=True)
class Layer:
    """One layer's weights by their short names, and what its clauses need besides."""

    config: DecoderConfig
    weights: Weights
    prefix: str
    variant: Variant

    def weight(self, name: str) -> Floats:
        return self.weights[f"{self.prefix}{name}.weight"]

    def project(self, name: str, rows: Quantised) -> Floats:
        bias = self.weights.get(f"{self.prefix}{name}.bias")
        return product_of(self.weight(name), rows, self.variant, bias)

    def out(self, name: str, rows: Floats) -> Floats:
        return product(self.weight(name), rows, self.variant)

    def before(self, name: str, x: Floats) -> Quantised:
        """What a block reads: x normed and quantised, or only quantised (OLMo 2)."""
        if self.config.norm_placement == "post":
            return cut(x, self.variant)
        return normed_and_quantised(x, self.weight(name), self.config.norm_epsilon, self.variant)

    def after(self, name: str, branch: Floats) -> Floats:
        """What a block adds: its result, or that normed (OLMo 2)."""
        if self.config.norm_placement == "pre":
            return branch
        return normed(branch, self.weight(name), self.config.norm_epsilon)


def heads(layer: Layer, name: str, rows: Quantised) -> Floats:
    """5.2: projected and, where the family does so, normed heads (T, H, D)."""
    x, config = layer.project(f"self_attn.{name}_proj", rows), layer.config
    split = (len(x), -1, config.head_dim)
    if name == "v" or config.qk_norm == "none":
        return x.reshape(split)
    g = layer.weight(f"self_attn.{name}_norm")
    if config.qk_norm == "head":
        return normed(x.reshape(split), g, config.norm_epsilon)
    return normed(x, g, config.norm_epsilon).reshape(split)


@np.errstate(over="ignore")
def silu(y: Floats) -> Floats:
    """5.4."""
    z = np.clip(finite(y) * f32(2048), f32(-32768), f32(32768))
    return y * tables().S[rne(z) + 32768]


@np.errstate(over="ignore")
def layer_of(layer: Layer, x: Floats, c: Floats, s: Floats) -> Floats:
    """5.1: the residual stream (T, d) after one layer."""
    h = layer.before("input_layernorm", x)
    q, k, v = (heads(layer, name, h) for name in "qkv")
    mixed = attend(rotated(q, c, s), rotated(k, c, s), v, layer.variant)
    x = x + layer.after("post_attention_layernorm", layer.out("self_attn.o_proj", mixed))
    h = layer.before("post_attention_layernorm", x)
    inner = layer.project("mlp.up_proj", h) * silu(layer.project("mlp.gate_proj", h))
    return x + layer.after("post_feedforward_layernorm", layer.out("mlp.down_proj", inner))


def logits(
    config: DecoderConfig, weights: Weights, variant: Variant, tokens: Sequence[int]
) -> Floats:
    """5: tokens (T) from position 0 -> (T, V); a tied head is the embedding as a product's weights."""
    embedding = weights["model.embed_tokens.weight"]
    x = embedding[list(tokens)]
    c, s = rotation(config, range(len(tokens)))
    for number in range(config.num_layers):
        x = layer_of(Layer(config, weights, f"model.layers.{number}.", variant), x, c, s)
    head = embedding if config.tie_embeddings else weights["lm_head.weight"]
    g = weights["model.norm.weight"]
    return product_of(head, normed_and_quantised(x, g, config.norm_epsilon, variant), variant)


# 7. Sampling; 8. Logarithm.


def logarithm(p: int) -> float:
    """8: ln(p / 2^30) of an integer p >= 1."""
    n = p.bit_length() - 1
    f = f64(p / 2**n)
    j = int((f - f64(1)) * f64(1024))
    c = f64(1) + f64(2 * j + 1) / f64(2048)
    d, h = (f - c) / c, f64(-0.25)
    for coefficient in (f64(1) / f64(3), f64(-0.5), f64(1)):
        h = h * d + coefficient
    return float(f64(n - 30) * f64(tables().LN2) + tables().L[j] + h * d)


@np.errstate(over="ignore")
def chances(row: Floats, temperature: float) -> tuple[Floats, Floats, Integers]:
    """7.1, 7.2: `l`, `z` and `p` (each V) of one row of logits."""
    scaled = finite(finite(row) / f32(temperature))
    z = finite(scaled - scaled.max())
    n = rne(np.minimum(z * f32(-(2**20)), f32(2**25)))
    n = np.minimum(n, 2**25 - 1)
    t = tables()
    return scaled, z, rne(t.A[n >> 10] * t.B[n & 1023] * f64(2**30))


def sample(row: Floats, u: float, temperature: float, greedy: bool) -> tuple[int, np.float32]:
    """7.1 to 7.4: a row of logits (V) -> the token and its log-probability."""
    scaled, z, p = chances(row, 1.0 if greedy else temperature)
    total = int(p.sum())
    reached = np.cumsum(p) > f64(u) * f64(total)
    token = int((scaled == scaled.max() if greedy else reached).argmax())
    return token, f32(z[token].astype(f64) - f64(logarithm(total)))


def philox(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """Philox4x32-10 (Salmon et al., 2011) of four counter words and two key words."""
    (x0, x1, x2, x3), (k0, k1) = counter, key
    for _ in range(10):
        high, low = divmod(0xD2511F53 * x0, 2**32), divmod(0xCD9E8D57 * x2, 2**32)
        x0, x1, x2, x3 = low[0] ^ x1 ^ k0, low[1], high[0] ^ x3 ^ k1, high[1]
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return x0, x1, x2, x3


def uniform(seed: int, rollout: int, position: int) -> float:
    """7.5: the number in (0, 1) for the sampled token `position`, counted from 0."""
    words = philox((position // 2, rollout, 0, 0x53414D50), (seed % 2**32, seed >> 32))
    v = 2**32 * words[position % 2 * 2] + words[position % 2 * 2 + 1]
    return (v // 2**14 + 0.5) / 2**50


def generate(
    config: DecoderConfig,
    weights: Weights,
    variant: Variant,
    prompt: Sequence[int],
    *,
    seed: int,
    rollout: int,
    num_new: int,
    temperature: float,
    stop: Sequence[int] = (),
) -> tuple[list[int], list[np.float32]]:
    """New tokens, up to `num_new` or the first of `stop` (included), and their log-probabilities.

    Temperature 0 is greedy. Every token computes the whole sequence anew: nothing is kept.
    """
    tokens: list[int] = []
    logprobs: list[np.float32] = []
    while len(tokens) < num_new and not set(tokens) & set(stop):
        row = logits(config, weights, variant, [*prompt, *tokens])[-1]
        u = uniform(seed, rollout, len(tokens))
        token, logprob = sample(row, u, temperature, greedy=temperature == 0)
        tokens.append(token)
        logprobs.append(logprob)
    return tokens, logprobs
