"""The lines of a pool: laid over whoever is here, for requests to go over; one that is lost for good is given up.

Parts: `Lines`. Law: devices of two lines are disjoint; who joins makes nobody wait that runs.
"""

import logging
from collections.abc import Callable

from archipel.engine.capacity import Capacity
from archipel.serve.pool.devices import Devices
from archipel.serve.pool.driving import Driver
from archipel.serve.pool.far import FarNetwork
from archipel.serve.pool.line import Line, Mended
from archipel.serve.pool.placing import Placing, PoolBroken

logger = logging.getLogger("archipel.serve")

MOVED_POSITIONS = 4096
"""A line is laid anew for a device that joined while so many positions at most would be computed again."""
MAX_MENDED = 100
"""That are remembered of lines that are no more."""


class Lines:
    """One thread asks."""

    def __init__(
        self, capacity: Capacity, network: FarNetwork, devices: Devices, placing: Placing
    ) -> None:
        """capacity: of each line."""
        self._capacity, self._network = capacity, network
        self._devices, self._placing = devices, placing
        self._drivers: list[Driver] = []
        self._num_seen = 0
        """Devices that had joined when lines were laid last."""
        self._before: list[Mended] = []
        """What was made good of lines that are no more."""

    @property
    def drivers(self) -> tuple[Driver, ...]:
        """Of each line."""
        return tuple(self._drivers)

    @property
    def mended(self) -> tuple[Mended, ...]:
        """Every loss that was made good within a line."""
        return (*self._before, *(each for driver in self.drivers for each in driver.line.mended))

    def welcome(self, *, is_loaded: bool = False) -> None:
        """Have devices that joined take part: as lines of their own, where they can hold the model.

        is_loaded: layers are loaded now, beside whatever runs, and not only when somebody asks.
        """
        joined = self._devices.num_joined
        if joined != self._num_seen:
            self._num_seen = joined
            self._settle()
            is_idle = not any(each.has_work or each.stepping for each in self._drivers)
            if self._drivers and is_idle and self._placing.could_be() > len(self._drivers):
                for each in self.drivers:
                    self._close(each)
            self._lay()
        for each in self._drivers if is_loaded else ():
            if not each.line.segments and each.stepping is None:
                each.start(each.line.begin)

    def least_busy(self) -> Driver:
        """Where a further sequence gets its tokens soonest; one that is still being loaded if there is no other.

        Raises:
            PoolBroken: the devices that are here cannot hold the model.
        """
        if not self._drivers:
            self._lay()
        if not self._drivers:
            raise PoolBroken(self._placing.why_not())
        ready = [each for each in self._drivers if each.line.segments] or self._drivers
        return min(ready, key=self._seconds_with_another)

    def loaded(self) -> Line:
        """The line of `least_busy`, with every layer at a device that is here, if no step of it is under way.

        Raises:
            PoolBroken: see there.
        """
        self.welcome()
        while True:
            driver = self.least_busy()
            if driver.stepping is not None:
                return driver.line
            try:
                driver.line.begin()
            except PoolBroken as error:
                if driver.has_work:  # its next step gives it up, and tells whoever waits
                    raise
                self.give_up(driver, error)
            else:
                return driver.line

    def better(self, driver: Driver) -> Callable[[], None]:
        """What a line does before its next step: it is laid anew for a device that joined, where nobody waits long for it."""
        joined, line = self._devices.num_joined, driver.line
        if driver.num_seen == joined or line.num_positions > MOVED_POSITIONS:
            return _nothing
        driver.num_seen = joined
        is_better = line.segments and self._placing.is_better(line, line.segments)
        return line.lay if is_better else _nothing

    def give_up(self, driver: Driver, why: PoolBroken) -> None:
        """A line can hold the model no more.

        Raises:
            PoolBroken: there is no other, nor could there be.
        """
        self._close(driver)
        if not self._drivers:
            self._lay()
        if not self._drivers:
            raise why

    def _settle(self) -> None:
        """Take note of lines that were loaded while nobody asked."""
        for each in self.drivers:
            if each.stepping is None or not each.stepping.done() or each.has_work:
                continue
            try:
                each.collected()
            except PoolBroken as error:
                logger.warning("a line could not be loaded: %s", error)
                self._close(each)

    def _lay(self) -> None:
        """Make a line of every pipeline that devices of no line could be.

        The first is loaded by its first step, all others at once, beside what runs.
        """
        for planned in self._placing.lines():
            network = self._network.another()
            driver = Driver(self._capacity, network, network.line)
            driver.num_seen = self._devices.num_joined
            self._placing.take(driver.line, planned)
            if self._drivers:
                driver.start(driver.line.begin)
            self._drivers.append(driver)

    def _seconds_with_another(self, driver: Driver) -> float:
        """What a further sequence of this line would wait for a token at most."""
        return (driver.num_open + 1) * self._placing.token_s(driver.line)

    def _close(self, driver: Driver) -> None:
        self._drivers.remove(driver)
        self._placing.leave(driver.line)
        driver.line.forget()
        driver.close()
        self._before = [*self._before, *driver.line.mended][-MAX_MENDED:]


def _nothing() -> None:
    """No line is laid anew."""
