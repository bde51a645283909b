"""The engine of a pool: requests, sampling and both ends of the model here, its layers on the devices of one line or more.

Parts: `PoolEngine`, an `OpenEngine` that a desk drives like any other. Law: tokens and log-probabilities are those of
`LocalEngine` with the same weights, arithmetic and number of threads, on processors of one kind; by the exact contract
on any. Whichever devices came, went or were lost meanwhile, and which lines a stream went over, is not seen in them.
"""

import itertools
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine
from archipel.engine.protocol import Events, NotLoaded, Ticket
from archipel.engine.reading import Follows, Reading, check_text
from archipel.model.adapter import Adapter
from archipel.plurals import counted
from archipel.records.requests import InvalidRequest, Request
from archipel.serve.pool.devices import Devices
from archipel.serve.pool.driving import Driver, waited_for
from archipel.serve.pool.far import FarNetwork
from archipel.serve.pool.far_text import MAX_TRIES, FarText
from archipel.serve.pool.line import Line, Mended
from archipel.serve.pool.lines import Lines
from archipel.serve.pool.links import Bounds
from archipel.serve.pool.placing import Form, Placing, PoolBroken, Segment
from archipel.serve.pool.stage import arithmetic_named
from archipel.serve.pool.streams import Streams
from archipel.serve.pool.weights import Original

logger = logging.getLogger("archipel.serve")

LOOK_S = 0.2
"""A step of several lines ends when the first has made its own; or after this, so that who comes and goes is seen."""


class PoolEngine(LocalEngine):
    """A model whose layers lie on devices."""

    def __init__(
        self,
        original: Original,
        devices: Devices,
        numbers: str = "float32",
        limits: EngineLimits | None = None,
    ) -> None:
        """numbers: "float32", "bfloat16" or a variant of the exact contract."""
        arithmetic = arithmetic_named(numbers, original.config, "cpu")
        limits = _in_frames(limits or EngineLimits(), original)
        super().__init__(original.config, limits=limits, arithmetic=arithmetic)
        self.form = Form(numbers, arithmetic, limits.max_cache_bytes)
        ends = original.ends()
        arithmetic.check_weights(ends)
        self.original = original
        self.placing = Placing(original, self.form, devices)
        self._network = FarNetwork(original, ends, self.form, self.placing)
        self._lines = Lines(self._capacity, self._network, devices, self.placing)
        self._streams = Streams()
        self._num_texts = 0

    @property
    def lines(self) -> tuple[Line, ...]:
        """Those that hold the model now."""
        return tuple(each.line for each in self._lines.drivers)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Of all lines."""
        return tuple(segment for line in self.lines for segment in line.segments)

    @property
    def mended(self) -> tuple[Mended, ...]:
        """Every loss that was made good within a line."""
        return self._lines.mended

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The weights of a pool are those of its directory.

        Raises:
            NotLoaded: always.
        """
        raise NotLoaded("a pool serves the weights of its directory; start another for others")

    def adapt(self, name: str, adapter: Adapter | None) -> None:
        """A pool has no adapters.

        Raises:
            NotLoaded: always.
        """
        raise NotLoaded("a pool serves whole weights; merge the adapter and serve that directory")

    @property
    def counts(self) -> Mapping[str, int]:
        """See `LocalEngine.counts`, over all lines that there are now; and `sequences_moved` to another line."""
        found: Counter[str] = Counter(sequences_moved=self._streams.num_moved)
        for each in self._lines.drivers:
            found.update(each.counts)
        return found

    @property
    def has_work(self) -> bool:
        """See `OpenEngine.has_work`."""
        return bool(self._streams) or any(each.has_work for each in self._lines.drivers)

    def add(self, request: Request) -> Ticket:
        """See `OpenEngine.add`; a draft is left.

        Raises:
            InvalidRequest: see `LocalEngine.add`, or it wants to know of experts.
        """
        if request.tells_experts:
            raise InvalidRequest(
                f"request {request.key!r:.80} wants to be told of experts, which a pool does not; leave that out"
            )
        if request.adapter is not None:
            raise InvalidRequest(
                f"request {request.key!r:.80}: adapter {request.adapter!r:.80} is not loaded; a pool has none"
            )
        self._capacity.check(request)
        ticket = Ticket(self._num_tickets)
        self._num_tickets += 1
        # A line's journals know of one token for each step of a sequence, so nothing is guessed.
        self._streams.add(ticket, replace(request, draft=()))
        return ticket

    def cancel(self, ticket: Ticket) -> bool:
        """See `OpenEngine.cancel`."""
        return self._streams.cancel(ticket)

    def reading(
        self, tokens: Sequence[int], adapter: str | None = None, follows: Follows | None = None
    ) -> Reading:
        """See `LocalEngine.reading`; what might follow a text is not weighed.

        Raises:
            InvalidRequest: see there, or something is to be weighed. PoolBroken: no devices hold the model.
        """
        if follows is not None:
            raise InvalidRequest(
                "a pool of devices answers and embeds, and does not weigh what may follow a text; "
                "ask a model on one machine"
            )
        if adapter is not None:
            raise InvalidRequest(f"adapter {adapter!r:.80} is not loaded; a pool has none")
        check_text(self._capacity, tokens, Follows(()))
        numbers = itertools.count(self._num_texts)
        self._num_texts += MAX_TRIES
        far = FarText(self._network, self._lines.loaded, lambda: next(numbers), tuple(tokens))
        return Reading(far, tokens)

    @torch.inference_mode()
    def step(self) -> Events:
        """See `OpenEngine.step`; of several lines, what the first that are done have made.

        Raises:
            PoolBroken: the devices that are here cannot hold the model; every request is dropped.
            NonFiniteLogits: see `LocalEngine.step`.
        """
        if not self.has_work:
            return Events.joined(())
        try:
            self.welcome()
            self._assign()
            return Events.joined(self._made())
        except BaseException:
            self._streams.clear()
            raise

    def welcome(self, *, is_loaded: bool = False) -> None:
        """See `Lines.welcome`."""
        self._lines.welcome(is_loaded=is_loaded)

    def _assign(self) -> None:
        """Give whoever waits for a line the one that is least busy."""
        for asked in self._streams.waiting():
            self._streams.give(asked, self._lines.least_busy())

    def _made(self) -> list[Events]:
        """What lines have made: one alone in this thread, several beside one another."""
        drivers = self._lines.drivers
        ready = [each for each in drivers if each.stepping is None and each.has_work]
        if len(ready) == 1 and all(each.stepping is None for each in drivers):
            return [self._collected(ready[0], is_here=True)]
        for each in ready:
            each.start(self._lines.better(each))
        return [self._collected(each) for each in waited_for(drivers, LOOK_S)]

    def _collected(self, driver: Driver, *, is_here: bool = False) -> Events:
        """What a line has made that is new.

        Raises:
            PoolBroken: it can hold the model no more, and there is no other.
        """
        try:
            better = self._lines.better(driver) if is_here else None
            events = driver.collected() if better is None else driver.step(better)
        except PoolBroken as error:
            num_left = self._streams.leave(driver)
            self._lines.give_up(driver, error)
            streams = counted(num_left, "stream goes on", "streams go on")
            logger.warning("a line is given up: %s; %s over another", error, streams)
            return Events.joined(())
        return self._streams.told(driver, events)


def _in_frames(limits: EngineLimits, original: Original) -> EngineLimits:
    """Prompts together only as far as their rows fit into one frame of a link; no prefixes, as no cache is here."""
    rows = Bounds().payload_bytes // (4 * original.config.hidden_size)
    least = min(limits.max_prefill_tokens, rows)
    return replace(limits, max_prefill_tokens=least, max_prefix_bytes=0)
