"""Does it fit? What a base and its adapters take of memory, asked before anything is loaded or begun.

Parts: `Limits`, `check_base`, `part` (what is left among passes and models), `state_bytes`, `ModelRoom` (memory of the models that are trained). Law: who is refused is told
what there is, and the highest rank that would fit.
"""

import threading
from dataclasses import dataclass
from math import prod

from archipel.door.hands import CannotDo
from archipel.model.adapter import adapter_shapes
from archipel.model.config import DecoderConfig
from archipel.model.directory import expected_shapes
from archipel.model.manifest import WrongTensors
from archipel.records.adapter import AdapterForm
from archipel.training.tenants.tenants import PIECE_TOKENS

GB = 1e9
FP32 = 4
STATE_BYTES = 24
"""Of a number that is trained: master, two moments and gathered gradient, and in a pass its rounded value and the
operation's gradient, fp32 each."""
LAID = 3
NO_BOUND = 10**15
EMBEDDING = "model.embed_tokens.weight"
WORKING_BYTES = 400_000_000
"""Beside all that is counted: tensor library, tokenizer, questions and answers."""


@dataclass(frozen=True)
class Limits:
    """What a local door may take of its machine, and how it parts its time."""

    pass_tokens: int = 1024
    """Of all models in one pass of training, where memory lets them."""
    slice_s: float = 0.25
    """Sampling goes on so long before it is asked again whose turn it is."""
    max_running: int = 64
    """Sequences that are sampled at once, and prompts scored."""
    max_cache_bytes: int = 2**30
    """Keys and values of what is sampled."""
    max_pass_bytes: int | None = None
    """What a pass of training holds beside weights; None: a third of what is free for training. It bounds how long a
    sequence may be."""
    max_adapters: int = 32
    """That are sampled with, at once."""
    max_adapter_bytes: int = 2**30
    max_model_bytes: int | None = None
    """Of all models that are trained; None: the rest of that."""


@dataclass(frozen=True)
class Parted:
    """Memory that is left for training once the base is loaded."""

    pass_bytes: int
    model_bytes: int


def base_bytes(config: DecoderConfig) -> int:
    """Of a base in fp32: embedding and norms once, and products three times: as the trainer has them, ahead and back, and
    as the engine does.
    """
    shapes = expected_shapes(config)
    embedding = prod(shapes[EMBEDDING])
    laid = sum(prod(shape) for shape in shapes.values() if len(shape) == 2)
    if not config.tie_embeddings:
        laid -= embedding
    return FP32 * (embedding + LAID * laid)


def check_base(config: DecoderConfig, limits: Limits, free: int | None) -> None:
    """Refuse a base that does not fit with what is sampled and computed beside it.

    free: bytes; None: nobody can tell.

    Raises:
        CannotDo: with what it takes and what there is.
    """
    passing = limits.max_pass_bytes or least_pass(config)
    beside = limits.max_cache_bytes + passing + WORKING_BYTES
    need = base_bytes(config) + beside
    if free is not None and need > free:
        raise CannotDo(
            f"training over this base takes {need / GB:.1f} GB ({base_bytes(config) / GB:.1f} GB for its weights, "
            f"{beside / GB:.1f} GB to work in), and {free / GB:.1f} GB are free; take a smaller base, or let less be "
            "sampled at once"
        )


def token_bytes(config: DecoderConfig) -> int:
    """What a pass keeps of one token until it goes back: measured, of a dense model of 576 and 1536 wide, 55 KB a layer."""
    per_layer = 11 * config.hidden_size + 11 * config.intermediate_size // 2
    return FP32 * config.num_layers * per_layer


def least_pass(config: DecoderConfig) -> int:
    """Bytes of the smallest pass that a piece always fits into."""
    return PIECE_TOKENS * token_bytes(config)


def part(config: DecoderConfig, limits: Limits, free: int | None) -> Parted:
    """Part what is free once the base is loaded.

    free: bytes; None: nobody can tell.

    Raises:
        CannotDo: nothing is left for models, or a piece does not fit into a pass.
    """
    least = least_pass(config)
    left = (NO_BOUND if free is None else free) - WORKING_BYTES
    left -= limits.max_cache_bytes + limits.max_adapter_bytes
    passing = limits.max_pass_bytes or max(least, left // 3)
    models = limits.max_model_bytes or left - passing
    if models <= 0 or passing < least:
        raise CannotDo(
            f"the base is loaded, sampling has its part, and {max(0, left) / GB:.1f} GB are left; a pass takes "
            f"{least / GB:.1f} GB at least and models the rest: let less be sampled at once, or take a smaller base"
        )
    return Parted(passing, models)


def state_bytes(config: DecoderConfig, form: AdapterForm) -> int:
    """Of an adapter that is trained.

    Raises:
        CannotDo: this architecture has no such layers.
    """
    try:
        shapes = adapter_shapes(config, form)
    except WrongTensors as error:
        raise CannotDo(str(error)) from None
    return STATE_BYTES * sum(map(prod, shapes.values()))


class ModelRoom:
    """Memory of the models that are trained, by name."""

    def __init__(self, config: DecoderConfig, most_bytes: int) -> None:
        self._config, self._most = config, most_bytes
        self._taken: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def num_free(self) -> int:
        """Bytes."""
        return self._most - sum(self._taken.values())

    def take(self, model: str, form: AdapterForm) -> None:
        """For a model of this form, in place of what it had.

        Raises:
            CannotDo: it does not fit.
        """
        wanted = state_bytes(self._config, form)
        with self._lock:
            free = self.num_free + self._taken.get(model, 0)
            if wanted > free:
                raise CannotDo(
                    f"a model of rank {form.rank} takes {wanted / GB:.2f} GB here, and {max(0, free) / GB:.2f} GB are "
                    f"left for models: {self._offer(form, free)}"
                )
            self._taken[model] = wanted

    def give(self, model: str) -> None:
        """What it had back."""
        with self._lock:
            self._taken.pop(model, None)

    def _offer(self, form: AdapterForm, free: int) -> str:
        one = state_bytes(self._config, form.model_copy(update={"rank": 1}))
        rank = min(form.rank - 1, free // one)
        if rank < 1:
            return "end a session, or ask again when others have"
        return f"rank {rank} fits, or end a session"
