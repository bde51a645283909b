"""What a device can do with a model's shapes, and how far away it is: measured, never looked up.

Parts: `measure_device` (seconds per layer and head, a step and a prompt), `round_trip_s` (of any question),
`ping` and `answer_ping` (over a link). Two engines of this model's shapes, one with more layers than the other, are run
in turn; a layer is the difference, so whatever a step costs besides its layers falls out. The layers together are
larger than a processor's cache, as they are in the model.
Law: seconds are bounded, memory too; no weights are needed, and what is measured depends on none.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median

import torch

from archipel.engine.arithmetic import FloatArithmetic
from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine
from archipel.model.config import DecoderConfig
from archipel.model.devices import CPU, free_bytes_on
from archipel.model.directory import expected_shapes
from archipel.records.requests import Request
from archipel.serve.pool.links import Link, LinkLost
from archipel.work.room import free_bytes

LIMIT_S = 5.0
_LEAST_ROUNDS = 2
_MOST_ROUNDS = 40
_COLD_BYTES = 128 * 1024 * 1024
"""Layers of so many bytes do not stay in a processor's cache from one step to the next."""
_MOST_LAYERS = 9
_VOCABULARY = 256
_HEAD_ROWS = 16_384
"""Rows of the head that are multiplied; it takes as long as its size, so the rest is reckoned."""

Progress = Callable[[float, str], None]
"""(share done, what is measured now)."""


class CannotMeasure(RuntimeError):
    """A device has no room to try two layers; the message says what it has and needs."""


@dataclass(frozen=True)
class Task:
    """What is asked of a device in one step."""

    rows: int = 1
    """Streams at once."""
    context: int = 256
    """Tokens before each of them."""
    prompt: int = 128
    """Tokens of a block of a prompt."""


TASK = Task()


@dataclass(frozen=True)
class Measured:
    """Seconds on this device, medians."""

    seconds_per_layer: float
    """A step of `Task.rows` rows through one layer."""
    prompt_seconds_per_layer: float
    """A block of `Task.prompt` tokens through one layer."""
    seconds_head: float
    """A step's rows through the head."""
    rounds: int
    """Of the steps."""
    memory_bytes: int | None
    """What was free before anything was allocated; None: this machine does not say."""


def measure_device(
    config: DecoderConfig,
    task: Task = TASK,
    where: tuple[torch.dtype, torch.device] = (torch.float32, CPU),
    limit_s: float = LIMIT_S,
    progress: Progress = lambda share, what: None,
) -> Measured:
    """Measure this machine with the shapes of `config`, in about `limit_s` seconds and the time to make two layers.

    Raises:
        CannotMeasure: not even two layers fit into half of what is free.
    """
    free = free_bytes_on(where[1]) if where[1].type != "cpu" else free_bytes()
    num_layers = _num_layers(config, where[0], free)
    progress(0.0, "making layers")
    few, many = (_Trial(config, num, task, where) for num in (1, num_layers))
    steps = list(_differences(few.step, many.step, 0.6 * limit_s))
    progress(0.6, "steps measured")
    prompts = list(_differences(few.read, many.read, 0.3 * limit_s))
    progress(0.9, "prompts measured")
    head_s = _head_s(config, task.rows, where, 0.1 * limit_s)
    progress(1.0, "head measured")
    return Measured(
        _of_layer(steps, num_layers), _of_layer(prompts, num_layers), head_s, len(steps), free
    )


def round_trip_s(ask: Callable[[], object], times: int = 9, limit_s: float = 2.0) -> float:
    """Median seconds of a question and its answer, of up to `times` within `limit_s`; one at least is asked."""
    took: list[float] = []
    until = time.monotonic() + limit_s
    while not took or (len(took) < times and time.monotonic() < until):
        took.append(_seconds(ask))
    return float(median(took))


def ping(link: Link, limit_s: float = 2.0) -> float:
    """Median round trip in seconds to a device that answers with `answer_ping`.

    Raises:
        LinkLost: it does not, or answers something else.
    """
    numbers = iter(range(1_000_000))

    def ask() -> None:
        number = next(numbers)
        link.send({"ping": number})
        header, _ = link.receive(limit_s)
        if header != {"pong": number}:
            raise LinkLost(f"expected the answer to ping {number}; got {str(header)[:80]}")

    return round_trip_s(ask, limit_s=limit_s)


def answer_ping(link: Link, header: dict[str, object]) -> bool:
    """Answer a ping; whether it was one. Raises LinkLost."""
    if header.keys() != {"ping"} or not isinstance(header["ping"], int):
        return False
    link.send({"pong": header["ping"]})
    return True


def _num_layers(config: DecoderConfig, dtype: torch.dtype, free: int | None) -> int:
    """As many as do not stay in a processor's cache, and fit: once as weights, once as the engine holds them."""
    each = _layer_bytes(config, dtype)
    wanted = min(max(2, math.ceil(_COLD_BYTES / each) + 1), _MOST_LAYERS)
    fits = wanted if free is None else free // 2 // (2 * each) - 1
    if fits < 2:
        raise CannotMeasure(
            f"two layers of {each} bytes and a copy of each need {6 * each} bytes; "
            f"half of what is free here is {(free or 0) // 2}: close something, or give this device no layers"
        )
    return min(wanted, fits)


def _layer_bytes(config: DecoderConfig, dtype: torch.dtype) -> int:
    shapes = expected_shapes(_small(config, 1))
    return sum(
        math.prod(shape) * dtype.itemsize
        for name, shape in shapes.items()
        if name.startswith("model.layers.0.")
    )


def _small(config: DecoderConfig, num_layers: int) -> DecoderConfig:
    """The same layers, fewer of them, and hardly any vocabulary."""
    return replace(
        config,
        num_layers=num_layers,
        vocab_size=_VOCABULARY,
        bos_token_id=None,
        eos_token_ids=(),
        pad_token_id=None,
        unrotated=tuple(each for each in config.unrotated if each < num_layers),
    )


class _Trial:
    """An engine with so many layers, all weights alike."""

    def __init__(
        self,
        config: DecoderConfig,
        num_layers: int,
        task: Task,
        where: tuple[torch.dtype, torch.device],
    ) -> None:
        small, (dtype, device) = _small(config, num_layers), where
        longest = small.max_position_embeddings
        self._task = replace(
            task,
            context=max(min(task.context, longest - _MOST_ROUNDS - 2), 1),
            prompt=max(min(task.prompt, longest - 1), 1),
        )
        self._engine = LocalEngine(small, dtype, str(device), EngineLimits())
        self._engine.load(
            {
                name: torch.full(shape, 0.01, dtype=dtype, device=device)
                for name, shape in expected_shapes(small).items()
            }
        )

    def step(self) -> float:
        """Seconds of one step of all rows."""
        if not self._engine.has_work:
            self._add(self._task.context, self._task.rows, _MOST_ROUNDS + 1)
            self._engine.step()
        return _seconds(self._engine.step)

    def read(self) -> float:
        """Seconds of a prompt."""
        while self._engine.has_work:  # steps that were not taken
            self._engine.step()
        self._add(self._task.prompt, 1, 1)

        def whole() -> None:
            while self._engine.has_work:
                self._engine.step()

        return _seconds(whole)

    def _add(self, prompt: int, rows: int, new: int) -> None:
        self._engine.add(Request("measured", (1,) * prompt, 0, rows, new, 0.0))


def _differences(
    few: Callable[[], float], many: Callable[[], float], limit_s: float
) -> Iterator[tuple[float, float]]:
    """(seconds of the few, of the many), in turn, so that both meet the same neighbours; the first are not told."""
    until = time.monotonic() + limit_s
    few(), many()
    for number in range(_MOST_ROUNDS):
        if number >= _LEAST_ROUNDS and time.monotonic() > until:
            return
        yield few(), many()


def _of_layer(took: list[tuple[float, float]], num_layers: int) -> float:
    """Of one layer; where the noise is larger than that, its share of all."""
    few, many = (float(median(each)) for each in zip(*took, strict=True))
    difference = (many - few) / (num_layers - 1)
    return difference if difference > 0 else many / num_layers


def _head_s(
    config: DecoderConfig, rows: int, where: tuple[torch.dtype, torch.device], limit_s: float
) -> float:
    dtype, device = where
    numbers = FloatArithmetic(config, dtype, device)
    tried = min(config.vocab_size, _HEAD_ROWS)
    weight = torch.full((tried, config.hidden_size), 0.01, dtype=dtype, device=device)
    with torch.inference_mode():
        head = numbers.projection(weight)
        x_Nd = torch.ones(
            max(rows, numbers.min_rows()), config.hidden_size, dtype=dtype, device=device
        )
        took = round_trip_s(lambda: float(head(x_Nd)[0, 0]), _MOST_ROUNDS, limit_s)
    return took * config.vocab_size / tried


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
