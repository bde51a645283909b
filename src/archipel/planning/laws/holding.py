"""What one process of this software holds while it trains or samples: bytes by part, and what of it is there at once.

Where `memory` speaks of accelerators in general, this speaks of our own trainer and engine: parameters that hold bf16
values, in fp32 or in 16 bits, fp32 masters and both moments, in fp32 or in a byte each (`training.optimiser`),
activations as autograd keeps them or the inputs of layers alone, logits in chunks (`training.vocabulary`),
checkpoints that are written; the engine's own weights, its cache and one more network for the comparison at its start.
Integers in, integers out, bytes; the measurements that they are held against are in the tests.
"""

from dataclasses import dataclass

RUNTIME = 280_000_000
"""Python, the tensor library and this software before they hold a model (measured: 258 MB)."""
KEPT = 256 * 2**20
"""Freed memory that a process may keep for later (`MALLOC_TRIM_THRESHOLD_` of our children)."""
FP32, BF16 = 4, 2
MOMENTS = 2 * FP32
SCALED = 128
"""Numbers to a scale of moments in 8 bit, about (`training.blockwise`: at most 256, and a divisor of the row)."""
MAX_SCORED_ROW = 512
"""In 16 bits on a processor rows up to this length keep their scores of attention (`model.network`)."""
MAX_LOGITS = 2**24
MAX_CACHE = 4 * 2**30
MAX_PREFILL = 2048
LOGITS_ALIVE = 4
"""Matrices of as many logits as are computed at a time, forwards and backwards."""


@dataclass(frozen=True)
class Shape:
    """A decoder's shape, as its config.json says it."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    inner: int
    vocabulary: int
    tied: bool = True
    experts: int = 0
    """Feed-forward layers in the place of one, each of width `inner`; 0: there is one."""
    chosen: int = 1
    """Of these, how many each token goes through."""
    feeds_adapter: bool = True
    """Whether an adapter on every linear layer has feed-forward ones."""

    @property
    def params(self) -> int:
        """Numbers in all weights, but for biases and norms of queries and keys: less than one in a hundred."""
        heads = self.heads + 2 * self.kv_heads + self.heads
        feeding = 3 * self.inner * max(1, self.experts) + self.experts
        layer = self.width * (heads * self.head_width + feeding + 2)
        tables = self.width * self.vocabulary * (1 if self.tied else 2)
        return self.layers * layer + tables + self.width

    def adapter_params(self, rank: int) -> int:
        """Numbers of a LoRA of this rank on every linear layer."""
        queries, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        sides = 2 * (self.width + queries) + 2 * (self.width + keys)
        if self.feeds_adapter:
            sides += 3 * (self.width + self.inner)
        return self.layers * rank * sides


@dataclass(frozen=True)
class Held:
    """Bytes by part."""

    states: int
    """For as long as the process works on the run."""
    working: int
    """Above that, at the worst moment, with what was freed before and not given back."""

    @property
    def peak(self) -> int:
        """The most that is there at once, with the runtime."""
        return RUNTIME + self.states + self.working


@dataclass(frozen=True)
class Pass:
    """What goes through the network at once in an update."""

    tokens: int
    """Places of one micro-batch, padding included."""
    row: int
    """Length of a row in which completions share a prompt, whose mask is kept at every layer; 0: none does."""
    predicted: int
    """Sampled tokens among them, which are scored over the vocabulary."""
    length: int = 0
    """Of any row, shared or not; 0: `row`."""


@dataclass(frozen=True)
class Thrift:
    """What a recipe's [memory] saves. Offloading saves nothing on a processor, whose memory this is about."""

    narrow: bool = False
    """Weights and activations in 16 bits; masters and the sum of gradients in fp32."""
    recompute: bool = False
    """Of each layer only the input is kept."""
    eight_bit: bool = False
    """Moments in a byte each."""

    def moments(self, learned: int) -> int:
        """Bytes of both, of so many numbers."""
        return 2 * learned + MOMENTS * (learned // SCALED) if self.eight_bit else MOMENTS * learned


PLAIN = Thrift()


def activations(shape: Shape, once: Pass, thrift: Thrift = PLAIN) -> int:
    """What autograd keeps of one micro-batch; counted on the trainer's network, without norms of heads."""
    around = 4 * shape.width * FP32
    if not thrift.recompute:
        return once.tokens * (shape.layers * _layer(shape, once, thrift) + around)
    inputs = shape.layers * shape.width * (BF16 if thrift.narrow else FP32)
    return once.tokens * (inputs + _layer(shape, once, thrift) + around)


def _layer(shape: Shape, once: Pass, thrift: Thrift) -> int:
    """Bytes that a layer keeps of one place. In 16 bits norms still keep what they are given in fp32, and short rows
    their scores: in fp32 from the softmax, and rounded.
    """
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    numbers = 5 * shape.width + 3 * queries + 2 * keys
    if shape.experts:
        # Each expert's rows are copied out, and its results weighed and added to a new sum; shares are kept twice.
        numbers += shape.chosen * (4 * shape.inner + 3 * shape.width) + 2 * shape.experts
        numbers += shape.width
    else:
        numbers += 4 * shape.inner
    if not thrift.narrow:
        return FP32 * (numbers + shape.heads + 2 + once.row)
    length = once.length or once.row
    scores = (FP32 + BF16) * shape.heads * length if length <= MAX_SCORED_ROW else BF16 * once.row
    return BF16 * numbers + FP32 * 2 * shape.width + scores


def logits(shape: Shape, once: Pass) -> int:
    """Scores over the vocabulary, as many rows at a time as `MAX_LOGITS` allows."""
    rows = max(1, min(once.predicted, MAX_LOGITS // shape.vocabulary))
    return LOGITS_ALIVE * FP32 * rows * shape.vocabulary


def update(shape: Shape, once: Pass, rank: int | None = None, thrift: Thrift = PLAIN) -> Held:
    """The process that learns.

    rank: of a LoRA on every linear layer, whose base has neither gradients nor masters; None: all weights learn.
    """
    weight = BF16 if thrift.narrow else FP32
    base = weight * shape.params
    learned = shape.params if rank is None else shape.adapter_params(rank)
    own = 0 if rank is None else weight * learned
    published = 2 * BF16 * learned  # this version and the one before
    moments = thrift.moments(learned)
    states = base + own + FP32 * learned + moments + published
    learning = FP32 * learned + activations(shape, once, thrift) + logits(shape, once)
    saving = 2 * (FP32 * learned + moments)  # a copy, and the bytes that are written
    comparing = FP32 * shape.params  # an engine at the start, of an adapter's run beside its base
    most = max(learning, saving, comparing - moments)
    return Held(states, most + _freed(shape, once, thrift, learning))


def _freed(shape: Shape, once: Pass, thrift: Thrift, learning: int) -> int:
    """What was given back and stays with the process. Where layers are computed again, it lies in holes between what is
    kept of each, which glibc before 2.38 hardly fills again with aligned blocks (its bug 14581).
    """
    if not thrift.recompute:
        return min(KEPT, learning)
    return min(KEPT + once.tokens * _layer(shape, once, thrift), 2 * learning)


def sampling(shape: Shape, sequences: int, length: int, cached_bytes: int = FP32) -> Held:
    """A process that samples so many sequences of so many positions at once.

    cached_bytes: of a number in the cache. Weights are counted as fp32, which bf16 products are held in on many
    processors; they arrive as an anchor, then as deltas, and the next version's lie beside this one's for a moment.
    """
    params, keys = shape.params, 2 * shape.kv_heads * shape.head_width
    cache = min(MAX_CACHE, sequences * length * shape.layers * keys * cached_bytes)
    version, network = (BF16 + FP32) * params, FP32 * params
    scores = LOGITS_ALIVE * FP32 * sequences * shape.vocabulary
    prompts = (
        FP32 * min(MAX_PREFILL, sequences * length) * 2 * (shape.width + shape.inner * shape.chosen)
    )
    working = max(scores, prompts) + max(version, network)
    return Held(version + cache, working + min(KEPT, version + network))


def most_params(limit: int, need: int, params: int) -> int:
    """About how many parameters a model of this shape may have, if one of `params` needs `need` bytes."""
    if need <= RUNTIME:
        return params
    return max(0, int(params * (limit - RUNTIME) / (need - RUNTIME)))
