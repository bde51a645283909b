"""The members of a disturbed run, as processes at a site: started, ended without a word, slowed, replaced.

Parts: `Throttle`, `Crew`. Law: leaving a crew lets every process go on that was held, whatever happened.
"""

import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import kill
from pathlib import Path

import httpx

from archipel.bench.churn_outcome import Slowed, Stopped, Watched
from archipel.bench.churn_schedule import Event, What
from archipel.bench.site import Site

PERIOD_S = 0.4
"""A slowed process runs and stands still once in this time."""
ASK_LIMIT_S = 2.0
AT_HAND = re.compile(r"^archipel_node_tokens_at_hand (\S+)$", re.MULTILINE)


class Throttle:
    """Lets what runs below a process run a share of the time, until it is closed."""

    def __init__(self, pid: int, share: float) -> None:
        """pid: of the process that itself goes on."""
        self._pid, self._share = pid, share
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._alternate, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """They run freely again."""
        self._over.set()
        self._thread.join()

    def _alternate(self) -> None:
        while not self._over.wait(PERIOD_S * self._share):
            held = below(self._pid)
            try:
                _send(held, signal.SIGSTOP)
                self._over.wait(PERIOD_S * (1 - self._share))
            finally:
                _send(held, signal.SIGCONT)


def below(pid: int) -> list[int]:
    """Processes that a process started, and those that they did; none where the system does not tell (Linux does)."""
    found, todo = [], [pid]
    while todo:
        with suppress(OSError):  # it ended just now
            for task in Path(f"/proc/{todo.pop()}/task").iterdir():
                children = [int(each) for each in (task / "children").read_text().split()]
                found += children
                todo += children
    return found


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            kill(pid, number)


class Crew:
    """Those who take part in one run, by their places."""

    def __init__(self, site: Site, places: int, share: float) -> None:
        """share: of the time, that a slowed one runs."""
        self._site, self._share = site, share
        self._names = [f"member-{place}" for place in range(places)]
        self._ports: dict[str, int] = {}
        self._nodes: dict[str, str] = {}
        self._started_s: dict[str, float] = {}
        self._slowed: dict[int, tuple[Throttle, int]] = {}
        self._stopped: list[Stopped] = []
        self._slows: list[Slowed] = []
        self._newcomers = 0
        self._starting: set[int] = set()
        """Places whose members the lab has not heard yet since they were started."""

    def start(self) -> None:
        """All of them."""
        for name in self._names:
            self._start(name)

    def starting(self) -> frozenset[int]:
        """Places whose members were started, and the lab has heard nothing of them since."""
        if self._starting:
            nodes, now_s = self._site.nodes(), time.monotonic()
            for place in list(self._starting):
                name = self._names[place]
                view = nodes.get(self._nodes[name])
                if view is not None and view.silent_s < now_s - self._started_s[name]:
                    self._starting.remove(place)
        return frozenset(self._starting)

    def begin(self, event: Event) -> str:
        """Do it; returns a line on it."""
        name = self._names[event.place]
        if event.what is What.SLOWS:
            throttle = Throttle(self._site.pid(name), self._share)
            self._slowed[event.place] = throttle, _now_ms()
        else:
            self._see_the_end_of(name)
            self._site.kill(name)
        return f"{name} is {event.what.value}"

    def end(self, event: Event) -> str:
        """It is over: the place is as it was, but perhaps for who has it; returns a line on it."""
        if event.what is What.SLOWS:
            self._let_go(event.place)
            return f"{self._names[event.place]} runs freely"
        if event.what is What.LEAVES:
            self._newcomers += 1
            self._names[event.place] = f"newcomer-{self._newcomers}"
        self._start(self._names[event.place])
        self._starting.add(event.place)
        return f"{self._names[event.place]} starts"

    def watched(self) -> Watched:
        """What was seen so far; those that still run are asked how far they are, and end there."""
        for name in self._names:
            if self._site.running(name):
                self._see_the_end_of(name)
        return Watched(frozenset(self._nodes.values()), self._stopped, self._slows)

    def close(self) -> None:
        """Nobody is slowed any more."""
        for place in list(self._slowed):
            self._let_go(place)

    def _start(self, name: str) -> None:
        port = self._ports[name] = _free_port()
        self._started_s[name] = time.monotonic()
        self._nodes[name] = self._site.start_node(name, ["--metrics-port", str(port)])

    def _let_go(self, place: int) -> None:
        throttle, since_ms = self._slowed.pop(place)
        throttle.close()
        node = self._nodes[self._names[place]]
        self._slows.append(Slowed(node, since_ms, _now_ms(), self._share))

    def _see_the_end_of(self, name: str) -> None:
        tokens = _at_hand(self._ports[name])
        self._stopped.append(Stopped(self._nodes[name], _now_ms(), tokens))


@contextmanager
def crew_of(site: Site, places: int, share: float) -> Iterator[Crew]:
    """Nobody is slowed when the block ends."""
    crew = Crew(site, places, share)
    try:
        yield crew
    finally:
        crew.close()


def _at_hand(port: int) -> int | None:
    """Tokens that a node has trained on for its work, as it says; None: it does not answer."""
    try:
        said = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=ASK_LIMIT_S, trust_env=False)
    except httpx.HTTPError:
        return None
    found = AT_HAND.search(said.text)
    return None if found is None else int(float(found[1]))


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


def _now_ms() -> int:
    return round(time.time() * 1000)
