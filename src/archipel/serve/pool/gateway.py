"""The engine of a pool: requests, sampling and both ends of the model here, its layers on the devices of one line or more.

Parts: `PoolEngine`, an `OpenEngine` that a desk drives like any other. Law: tokens and log-probabilities are those of
`LocalEngine` with the same weights, arithmetic and number of threads, on processors of one kind; by the exact contract
on any. Whichever devices came, went or were lost meanwhile, and which lines a stream went over, is not seen in them.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine
from archipel.engine.protocol import Events, NotLoaded, Ticket
from archipel.engine.reading import Follows, Reading
from archipel.model.adapter import Adapter
from archipel.plurals import counted
from archipel.records.requests import InvalidRequest, Request
from archipel.serve.pool.devices import Devices
from archipel.serve.pool.driving import Driver, waited_for
from archipel.serve.pool.far import FarNetwork
from archipel.serve.pool.line import Line, Mended
from archipel.serve.pool.links import Bounds
from archipel.serve.pool.placing import Form, Placing, PoolBroken, Segment
from archipel.serve.pool.stage import arithmetic_named
from archipel.serve.pool.streams import Streams
from archipel.serve.pool.weights import Original

logger = logging.getLogger("archipel.serve")

MOVED_POSITIONS = 4096
"""A line is laid anew for a device that joined while so many positions at most would be computed again."""
MAX_MENDED = 100
"""That are remembered of lines that are no more."""
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
        self.original, self._devices, self._num_seen = original, devices, 0
        self.placing = Placing(original, self.form, devices)
        self._network = FarNetwork(original, ends, self.form, self.placing)
        self._drivers: list[Driver] = []
        self._streams = Streams()
        self._before: list[Mended] = []
        """What was made good of lines that are no more."""

    @property
    def lines(self) -> tuple[Line, ...]:
        """Those that hold the model now."""
        return tuple(each.line for each in tuple(self._drivers))

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Of all lines."""
        return tuple(segment for line in self.lines for segment in line.segments)

    @property
    def mended(self) -> tuple[Mended, ...]:
        """Every loss that was made good within a line."""
        return (*self._before, *(each for line in self.lines for each in line.mended))

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
        for each in tuple(self._drivers):
            found.update(each.counts)
        return found

    @property
    def has_work(self) -> bool:
        """See `OpenEngine.has_work`."""
        return bool(self._streams) or any(each.has_work for each in self._drivers)

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
        """Reading without sampling needs layers here.

        Raises:
            InvalidRequest: always.
        """
        del tokens, adapter, follows
        raise InvalidRequest(
            "a pool of devices answers questions, and neither embeds nor scores texts; ask a model on one machine"
        )

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
        """Have devices that joined take part: as lines of their own, where they can hold the model.

        is_loaded: layers are loaded now, beside whatever runs, and not only when somebody asks.
        """
        joined = self._devices.num_joined
        if joined != self._num_seen:
            self._num_seen = joined
            is_idle = not any(each.has_work or each.stepping for each in self._drivers)
            if self._drivers and is_idle and self.placing.could_be() > len(self._drivers):
                for each in list(self._drivers):
                    self._close(each)
            self._lay_lines()
        for each in self._drivers if is_loaded else ():
            if not each.line.segments and each.stepping is None:
                each.start(each.line.begin)

    def _lay_lines(self) -> None:
        """Make a line of every pipeline that devices of no line could be.

        The first is loaded by its first step, all others at once, beside what runs.
        """
        for planned in self.placing.lines():
            network = self._network.another()
            driver = Driver(self._capacity, network, network.line)
            driver.num_seen = self._devices.num_joined
            self.placing.take(driver.line, planned)
            if self._drivers:
                driver.start(driver.line.begin)
            self._drivers.append(driver)

    def _assign(self) -> None:
        """Give whoever waits for a line the one that is least busy; one that is still being loaded if there is no other."""
        for asked in self._streams.waiting():
            if not self._drivers:
                self._lay_lines()
            if not self._drivers:
                raise PoolBroken(self.placing.why_not())
            ready = [each for each in self._drivers if each.line.segments] or self._drivers
            self._streams.give(asked, min(ready, key=self._seconds_with_another))

    def _seconds_with_another(self, driver: Driver) -> float:
        """What a further sequence of this line would wait for a token at most."""
        return (driver.num_open + 1) * self.placing.token_s(driver.line)

    def _made(self) -> list[Events]:
        """What lines have made: one alone in this thread, several beside one another."""
        ready = [each for each in self._drivers if each.stepping is None and each.has_work]
        if len(ready) == 1 and all(each.stepping is None for each in self._drivers):
            return [self._collected(ready[0], is_here=True)]
        for each in ready:
            each.start(self._better(each))
        return [self._collected(each) for each in waited_for(self._drivers, LOOK_S)]

    def _collected(self, driver: Driver, *, is_here: bool = False) -> Events:
        """What a line has made that is new."""
        try:
            events = driver.step(self._better(driver)) if is_here else driver.collected()
        except PoolBroken as error:
            self._give_up(driver, error)
            return Events.joined(())
        return self._streams.told(driver, events)

    def _better(self, driver: Driver) -> Callable[[], None]:
        """What a line does before its next step: it is laid anew for a device that joined, where nobody waits long for it."""
        joined, line = self._devices.num_joined, driver.line
        if driver.num_seen == joined or line.num_positions > MOVED_POSITIONS:
            return _nothing
        driver.num_seen = joined
        is_better = line.segments and self.placing.is_better(line, line.segments)
        return line.lay if is_better else _nothing

    def _give_up(self, driver: Driver, why: PoolBroken) -> None:
        """A line that can hold the model no more: its streams go on over another.

        Raises:
            PoolBroken: there is no other.
        """
        num_left = self._streams.leave(driver)
        self._close(driver)
        if not self._drivers:
            self._lay_lines()
        if not self._drivers:
            raise why
        logger.warning(
            "a line of the pool is given up: %s; %s over another",
            why,
            counted(num_left, "stream goes on", "streams go on"),
        )

    def _close(self, driver: Driver) -> None:
        self._drivers.remove(driver)
        self.placing.leave(driver.line)
        driver.line.forget()
        driver.close()
        self._before = [*self._before, *driver.line.mended][-MAX_MENDED:]


def _nothing() -> None:
    """No line is laid anew."""


def _in_frames(limits: EngineLimits, original: Original) -> EngineLimits:
    """Prompts together only as far as their rows fit into one frame of a link; no prefixes, as no cache is here."""
    rows = Bounds().payload_bytes // (4 * original.config.hidden_size)
    least = min(limits.max_prefill_tokens, rows)
    return replace(limits, max_prefill_tokens=least, max_prefix_bytes=0)
