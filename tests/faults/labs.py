"""The labs of a storm, one or two on one ledger, the agents' ways to them, and what happens to the lab's store."""

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

import httpx

from archipel.bench.site import SiteFailed
from archipel.node.exchange import LabUnreachable
from faults.proxy import BadNetwork
from faults.stores import SECOND
from faults.worlds import POLL_S, UPDATE, World

SHIM_CLOCK = "FAULTS_CLOCK"
SPOILT_FOR_EACH = 5
"""Connections of one agent to one lab."""
OPENING_S = 120.0
AGENTS = (UPDATE, "node0", "node1")


def shimmed(made: World, name: str) -> Mapping[str, str]:
    """Variables that give this process its own clock, right until it is stepped."""
    from faults.clocks import SHIM

    clock = made.site.folder / f"{name}.clock"
    if not clock.exists():
        clock.write_text("0 1.0")
    return made.modules_from(SHIM) | {SHIM_CLOCK: str(clock)}


class Labs:
    """Whoever leads, whoever follows, and the relays."""

    def __init__(self, made: World, seed: str) -> None:
        self.names = ["lab", SECOND] if made.store.has_two_labs else ["lab"]
        self._made, self._seed = made, seed
        self._urls: dict[str, str] = {}
        self._ways: dict[tuple[str, str], BadNetwork] = {}

    def open(self) -> None:
        """Start them, and lay a way from every agent to each."""
        made = self._made
        with made.surroundings(shimmed(made, "lab")):
            made.open_lab(() if len(self.names) == 1 else ("--no-pages",))
        self._urls["lab"] = made.address
        if SECOND in self.names:
            self._open_second()
        for agent in AGENTS:
            for name in self.names:
                port = int(self._urls[name].rsplit(":", 1)[1])
                seed = f"{self._seed} {agent} {name}"
                self._ways[agent, name] = way = BadNetwork(port, seed, SPOILT_FOR_EACH)
                way.open()

    def _open_second(self) -> None:
        site = self._made.site
        home = site.home(SECOND)
        home.mkdir(mode=0o700)
        for key in ("lab.key", "operator.key"):
            shutil.copy(site.home("lab") / key, home / key)
        (home / "blobs").symlink_to(site.home("lab") / "blobs")
        with self._made.surroundings(shimmed(self._made, SECOND)):
            site.start_follower(SECOND, 0, self._made.lab_options)
            self._urls[SECOND] = (home / "url").read_text()

    def open_run(self, revive: Callable[[], None]) -> None:
        """The update role over its ways, and the run. revive: starts again whoever ended."""
        made = self._made
        direct = ",".join(self._urls.values())
        with made.reached_at(self.way(UPDATE)):
            made.start_update()
        deadline = time.monotonic() + OPENING_S
        while True:
            try:
                with made.reached_at(direct):
                    made.site.open_run(made.stage.recipe, made.bench.start, [UPDATE])
                break
            except (
                LabUnreachable
            ):  # a busy machine: whoever led stood still for too long, and ended
                if time.monotonic() > deadline:
                    raise
                revive()
        self.look()

    def way(self, agent: str) -> str:
        """Addresses at which this agent reaches the labs."""
        return ",".join(self._ways[agent, name].url for name in self.names)

    def start_again(self, name: str) -> None:
        """At the same address, and nobody waits for it; with two labs it follows until it leads."""
        self._made.start_lab_again(name, int(self._urls[name].rsplit(":", 1)[1]))

    def look(self) -> None:
        """Find out who leads now; while nobody does, it stays as it was."""
        if len(self.names) == 1:
            return
        for name in self.names:
            with suppress(httpx.HTTPError, json.JSONDecodeError, KeyError):
                answer = httpx.get(f"{self._urls[name]}/leader", timeout=5.0, trust_env=False)
                if answer.json()["leads"]:
                    self._made.led_by(name, self._urls[name])
                    return

    def wait(
        self, condition: Callable[[], bool], what: str, limit_s: float, revive: Callable[[], None]
    ) -> None:
        """Raises SiteFailed: it does not come true, though whoever ended is started again."""
        deadline = time.monotonic() + limit_s
        while not condition():
            revive()
            self.look()
            if time.monotonic() > deadline:
                raise SiteFailed(f"waited {limit_s:.0f} s for {what}")
            time.sleep(POLL_S)

    def part(self, agent: str) -> Callable[[], None]:
        """Nothing gets through between this agent and any lab, until what is returned is called."""
        ways = [self._ways[agent, name] for name in self.names]
        for way in ways:
            way.part()
        return lambda: [way.heal() for way in ways] and None

    def of_the_store(
        self, rng: random.Random
    ) -> tuple[str, Callable[[], Callable[[], None]]] | None:
        """(what, how it begins) of a fault between a lab and its store; None: it is a folder."""
        store = self._made.store
        if (network := store.network) is not None:
            return "partition", lambda: (network.part(), network.heal)[1]
        if store.ledger is None:
            return None
        place = store.ledger
        return rng.choice(
            (("ended sessions", lambda: _ended_sessions(place)), ("stall", lambda: asleep(place)))
        )

    def calm(self) -> None:
        """No more faults on any way."""
        for way in (*self._ways.values(), *filter(None, [self._made.store.network])):
            way.calm()

    def hits(self) -> dict[str, int]:
        """What happened to connections; partitions are counted where they are drawn."""
        told: Counter[str] = Counter()
        for way in self._ways.values():
            told.update({f"{what}: network": count for what, count in way.faults.items()})
        if (network := self._made.store.network) is not None:
            told.update({f"{what}: store": count for what, count in network.faults.items()})
        return {what: count for what, count in told.items() if not what.startswith("partition")}

    def close(self) -> None:
        """End the relays."""
        for way in self._ways.values():
            way.close()


def _sessions(place: str, act: str) -> list[int]:
    import psycopg

    with psycopg.connect(place, autocommit=True, connect_timeout=10) as connection:
        rows = connection.execute(
            f"SELECT pid, {act} FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return [int(row[0]) for row in rows.fetchall()]


def _ended_sessions(place: str) -> Callable[[], None]:
    """The server ends everybody's session at once."""
    _sessions(place, "pg_terminate_backend(pid)")
    return lambda: None


def asleep(place: str) -> Callable[[], None]:
    """Everybody's session sleeps."""
    pids = _sessions(place, "0")

    def told(number: signal.Signals) -> None:
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    told(signal.SIGSTOP)
    return lambda: told(signal.SIGCONT)
