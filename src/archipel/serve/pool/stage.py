"""A device of a pool: holds ranges of layers and takes rows through them, as its gateway asks over one link.

Parts: `Stage` (what is held; one message in, one out), `work` (over a link, until it ends). Embedding, final norm and
head stay at the gateway, so any device can hold any range and none sees tokens. Law: what a gateway asks is compared
with what this device gives before anything is allocated.
"""

import threading
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from archipel.engine.arithmetic import Arithmetic, FloatArithmetic
from archipel.engine.cache import CacheShape
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.rows import Rows as Quantised
from archipel.engine.exact.variants import UnknownVariant, variant_of
from archipel.engine.ranges import LayerRange, OutOfCache
from archipel.model.config import DecoderConfig, InvalidConfig
from archipel.serve.pool.integers import packed_integers
from archipel.serve.pool.links import Link, LinkLost, LinkQuiet
from archipel.serve.pool.messages import (
    MAX_MISSING,
    Drop,
    Fault,
    Have,
    Held,
    Hello,
    Hold,
    Message,
    Move,
    Ping,
    Pong,
    Said,
    Text,
    Through,
    Weight,
    Working,
    header_of,
    message_of,
    packed,
    unpacked,
)
from archipel.serve.pool.said_passes import all_rows, pass_of, read_holding
from archipel.serve.pool.texts_held import Forgotten, Texts
from archipel.serve.pool.weights import NORM, Copies, Layers, bytes_of_layer

ALIVE_S = 0.5
"""Between two words of a device that computes."""
QUIET_S = 60.0
"""A gateway that says nothing for so long is gone; it asks for a sign of life far more often."""

Answer = tuple[Message, bytes]


class Refused(ValueError):
    """A device cannot do what it was asked; the link goes on."""


@dataclass(frozen=True)
class Gift:
    """What a device gives."""

    name: str
    memory_bytes: int
    device: str = "cpu"
    """Where it computes."""


def arithmetic_named(name: str, config: DecoderConfig, device: str) -> Arithmetic:
    """How a model is computed: "float32", "bfloat16", or a variant of the exact contract.

    Raises:
        Refused: no such thing, or not for this architecture.
    """
    if name in ("float32", "bfloat16"):
        dtype = torch.float32 if name == "float32" else torch.bfloat16
        return FloatArithmetic(config, dtype, torch.device(device))
    try:
        return ExactArithmetic(config, variant_of(name), torch.device(device))
    except (UnknownVariant, InvalidConfig) as error:
        raise Refused(str(error)) from None


class Stage:
    """Of one link: the layers that are held, with their cache."""

    def __init__(self, gift: Gift, copies: Copies) -> None:
        self._gift, self._copies = gift, copies
        self._ranges: dict[Layers, LayerRange] = {}
        self._arithmetic: Arithmetic | None = None
        self._norm: Tensor | None = None
        """The final one, where the last layer is here."""
        self._extent = 0, 0
        """Slots and positions of the cache."""
        self._texts = Texts()

    def hello(self) -> Hello:
        """What this device is."""
        kind = torch.backends.cpu.get_cpu_capability()
        return Hello(
            name=self._gift.name,
            memory_bytes=self._gift.memory_bytes,
            threads=torch.get_num_threads(),
            arithmetic=f"torch{torch.__version__}-{self._gift.device}-{kind}",
        )

    @torch.inference_mode()
    def answer(self, said: Said, payload: bytes) -> Answer | None:
        """Do what a message asks; what is said to it, if anything.

        Raises:
            Refused: it cannot be done. LinkLost: it makes no sense.
        """
        try:
            return self._done(said, payload)
        except (OutOfCache, RuntimeError, IndexError) as error:
            raise LinkLost(f"{said.say!r} could not be done: {error!s:.300}") from None

    def _done(self, said: Said, payload: bytes) -> Answer | None:
        match said:
            case Ping():
                return Pong(), b""
            case Hold():
                return self._hold(said, payload), b""
            case Weight():
                self._take(said, payload)
            case Have():
                self._have(said)
            case Move():
                for each in self._ranges.values():
                    each.move(said.sources, said.targets, said.length)
            case Drop():
                for layers in [said.layers] if said.layers else list(self._ranges):
                    self._ranges.pop(layers, None)
                self._texts.clear()
            case Through() | Text():
                return (
                    self._through(said, payload)
                    if said.say == "through"
                    else self._text(said, payload)
                )
            case _:
                raise LinkLost(f"the other end says {said.say!r} to a device")
        return None

    def _hold(self, said: Hold, payload: bytes) -> Held:
        (first, end), asked = said.layers, read_holding(payload, said.layers)
        config = asked.config
        numbers = arithmetic_named(said.numbers, config, self._gift.device)
        if self._arithmetic is None or self._arithmetic.config != config:
            self._ranges.clear()
        self._arithmetic, self._extent = numbers, (0, 0) if not self._ranges else self._extent
        self._require({*self._ranges, said.layers}, f"layers {first} to {end}")
        if torch.get_num_threads() > said.min_rows:
            torch.set_num_threads(said.min_rows)  # more would need more rows than a pass has
        found, missing = self._copies.find(config, asked.weights)
        if not missing:
            numbers.check_weights(found)
            if NORM in found:
                self._norm = found[NORM].to(numbers.device).float()
            self.take_over(numbers, LayerRange(config, found, numbers, range(first, end)))
        return Held(missing=missing[:MAX_MISSING])

    def take_over(self, numbers: Arithmetic, layers: LayerRange) -> None:
        """Hold these layers, computed so."""
        self._arithmetic = numbers
        self._ranges[layers.layers.start, layers.layers.stop] = layers

    def _take(self, said: Weight, payload: bytes) -> None:
        try:
            self._copies.take(said.digest, said.size, said.start, payload)
        except ValueError as error:
            raise LinkLost(str(error)) from None

    def _have(self, said: Have) -> None:
        self._extent = said.num_slots, said.length
        self._require(set(self._ranges), f"a cache of {said.num_slots} x {said.length} positions")
        for layers in list(self._ranges) if said.layers is None else [said.layers]:
            self._held(layers).have(said.num_slots, said.length, min(said.rows, said.num_slots))

    def _through(self, said: Through, payload: bytes) -> Answer:
        if self._arithmetic is None:
            raise LinkLost("rows came before any layers were held")
        numbers = self._arithmetic
        x = unpacked(said.rows, payload, numbers.config.hidden_size, numbers.dtype)
        if said.only is not None:
            x = all_rows(said, x)
        what = pass_of(said.what, len(x))
        for layers in said.ranges:
            x = self._held(layers).run(what, x)
        if said.only is not None:
            x = x[list(said.only)]
        if said.is_fed and said.is_told:
            return self._fed(said.ranges[-1], numbers, x)
        return packed(x if said.is_told else x[:0])

    def _fed(self, layers: Layers, numbers: Arithmetic, x: Tensor) -> Answer:
        """As the head is fed them: integers, which are half as many bytes."""
        if self._norm is None or layers[1] != numbers.config.num_layers:
            raise LinkLost("integers are only to be had after the last layer")
        rows = numbers.fed(x, self._norm)
        if not isinstance(rows, Quantised):
            raise LinkLost("integers are only to be had by the exact contract")
        return packed_integers(rows.q, rows.scale)

    def _text(self, said: Text, payload: bytes) -> Answer:
        numbers, (count, _) = self._arithmetic, said.rows.shape
        if numbers is None:
            raise LinkLost("rows came before any layers were held")
        if said.start + count > said.total or not count:
            raise LinkLost(f"{count} rows from {said.start} on came of a text of {said.total}")
        x = unpacked(said.rows, payload, numbers.config.hidden_size, numbers.dtype)
        try:
            if said.start == 0:
                more = self._texts.bytes_of(said, self._ranges)
                self._require(set(self._ranges), f"a text of {said.total} tokens", more)
            return packed(self._texts.read(said, self._ranges, x))
        except Forgotten as error:
            raise Refused(f"{error}; read the text anew") from None

    def _held(self, layers: Layers) -> LayerRange:
        held = self._ranges.get(layers)
        if held is None:
            raise LinkLost(f"layers {layers} are not held here")
        return held

    def _require(self, ranges: set[Layers], what: str, more: int = 0) -> None:
        """Refuse weights and caches of all these layers, texts, and so many bytes more, beyond what this device gives."""
        needed = sum(map(self._bytes_of, ranges)) + self._texts.num_bytes + more
        if needed > self._gift.memory_bytes:
            raise Refused(
                f"with {what} {needed} bytes are needed; {self._gift.name} gives {self._gift.memory_bytes}"
            )

    def _bytes_of(self, layers: Layers) -> int:
        numbers = self._arithmetic
        if numbers is None:
            return 0
        config, (num_slots, length) = numbers.config, self._extent
        shape = CacheShape(
            layers[1] - layers[0], 1, config.num_kv_heads, numbers.planes, max(length, 1)
        )
        size = numbers.dtype.itemsize
        return sum(bytes_of_layer(config, i, size) for i in range(*layers)) + (
            num_slots * shape.bytes_per_slot
        )


def work(link: Link, stage: Stage) -> None:
    """Answer a gateway until the link ends.

    Raises:
        LinkLost: says how it ended.
    """
    busy = threading.Event()
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(link, busy, ended), daemon=True)
    beating.start()
    try:
        link.send(header_of(stage.hello()))
        while True:
            header, payload = link.receive(QUIET_S)
            said = message_of(header)
            busy.set()
            try:
                answer = stage.answer(said, payload)
            except Refused as error:
                answer = (Fault(why=str(error)[:500]), b"")
            busy.clear()
            if answer is not None:
                link.send(header_of(answer[0]), answer[1])
    except LinkQuiet as error:
        raise LinkLost(f"the gateway said nothing for {QUIET_S:.0f} s: {error}") from None
    finally:
        ended.set()
        link.close()


def _beat(link: Link, busy: threading.Event, ended: threading.Event) -> None:
    """Say that it goes on, while it does."""
    while not ended.wait(ALIVE_S):
        if busy.is_set():
            with suppress(LinkLost):
                link.send(header_of(Working()))
