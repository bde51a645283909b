"""What one process of this software holds while it trains or samples: bytes by part, and what of it is there at once.

Where `memory` speaks of accelerators in general, this speaks of our own trainer and engine: fp32 parameters
that hold bf16 values, fp32 masters and both moments (`training.optimiser`), activations in fp32 as autograd keeps
them, logits in chunks (`training.vocabulary`), checkpoints that are copied before they are written; the engine's own
weights, its cache and one more network for the comparison at its start. Integers in, integers out, bytes; the
measurements that they are held against are in the tests.
"""

from dataclasses import dataclass

RUNTIME = 280_000_000
"""Python, the tensor library and this software before they hold a model (measured: 258 MB)."""
KEPT = 256 * 2**20
"""Freed memory that a process may keep for later (`MALLOC_TRIM_THRESHOLD_` of our children)."""
FP32, BF16 = 4, 2
MOMENTS, CHECKPOINT = 2 * FP32, 3 * FP32
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


def activations(shape: Shape, once: Pass) -> int:
    """What autograd keeps of one micro-batch in fp32; counted on the trainer's network, without norms of heads."""
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    layer = 5 * shape.width + 3 * queries + 2 * keys + shape.heads + 2 + once.row
    if shape.experts:
        # Each expert's rows are copied out, and its results weighed and added to a new sum; shares are kept twice.
        layer += shape.chosen * (4 * shape.inner + 3 * shape.width) + 2 * shape.experts
        layer += shape.width
    else:
        layer += 4 * shape.inner
    return FP32 * once.tokens * (shape.layers * layer + 4 * shape.width)


def logits(shape: Shape, once: Pass) -> int:
    """Scores over the vocabulary, as many rows at a time as `MAX_LOGITS` allows."""
    rows = max(1, min(once.predicted, MAX_LOGITS // shape.vocabulary))
    return LOGITS_ALIVE * FP32 * rows * shape.vocabulary


def update(shape: Shape, once: Pass, rank: int | None = None) -> Held:
    """The process that learns.

    rank: of a LoRA on every linear layer, whose base has neither gradients nor masters; None: all weights learn.
    """
    base = FP32 * shape.params
    learned = shape.params if rank is None else shape.adapter_params(rank)
    own = 0 if rank is None else FP32 * learned
    published = 2 * BF16 * learned  # this version and the one before
    states = base + own + (FP32 + MOMENTS) * learned + published
    learning = FP32 * learned + activations(shape, once) + logits(shape, once)
    saving = 2 * CHECKPOINT * learned  # a copy, and the bytes that are written
    comparing = base  # an engine at the start; of an adapter's run its base is the larger part
    most = max(learning, saving, comparing - MOMENTS * learned)
    return Held(states, most + min(KEPT, learning, saving))


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
