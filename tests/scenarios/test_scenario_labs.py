"""Two labs on one ledger in PostgreSQL: one is killed or falls asleep, the other goes on, and nobody loses anything."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from archipel.bench.ledger_server import NoServer, empty_schema, postgres_server
from archipel.ledger.location import leader_watch
from stage import Outcome, Stage
from tiny import SECRET

TAKEOVER_S = 10.0
"""What is promised of a leader that dies or falls asleep."""
ASLEEP_S = 20.0
NAMES = ("lab", "second")


@pytest.fixture
def database() -> Iterator[str]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgres_server(durable=False))
        except NoServer as error:
            pytest.skip(str(error))
        yield empty_schema(server, "lab")


class TwoLabs:
    """A run that is led by either of two labs."""

    def __init__(self, stage: Stage, start: Path, database: str) -> None:
        self.stage, self.site, self.database = stage, stage.site, database
        self._options = ("--ledger", database, "--no-pages")
        self._urls = {"lab": self.site.start_lab(options=self._options)}
        home = self.site.home("second")
        home.mkdir(mode=0o700)
        for key in ("lab.key", "operator.key"):
            shutil.copy(self.site.home("lab") / key, home / key)
        (home / "blobs").symlink_to(self.site.home("lab") / "blobs")
        self.follow("second")
        self._open(start)

    def follow(self, name: str) -> None:
        """Start a lab beside the one that leads."""
        port = int(self._urls.get(name, ":0").rsplit(":", 1)[1])
        self._urls[name] = self.site.start_follower(name, port, self._options)
        self.stage.wait(lambda: self.leader(name) is not None, f"{name} to answer")

    def leader(self, name: str) -> dict[str, object] | None:
        """What it says of who leads; None: it does not answer."""
        try:
            answer = httpx.get(self._urls[name] + "/leader", timeout=5.0, trust_env=False)
        except httpx.HTTPError:
            return None
        return dict(answer.json()) if answer.status_code == 200 else None

    def refused(self, name: str) -> httpx.Response:
        """What it says to who asks it for anything else."""
        return httpx.get(self._urls[name] + "/lab", timeout=5.0, trust_env=False)

    def taken_over(self, name: str, since_s: float, what: str) -> None:
        """Wait until it leads, and answers as a lab."""
        self.site.url = self._urls[name]
        self.stage.wait(lambda: self.site.get("/healthz") is not None, f"{name} to lead")
        took_s = time.monotonic() - since_s
        print(f"{what}: {name} led after {took_s:.1f} s")
        assert took_s < TAKEOVER_S
        shown = self.leader(name)
        assert shown is not None
        assert shown["leads"] is True
        assert shown["place"] == self._urls[name]

    def finished(self) -> Outcome:
        last = self.stage.recipe.run.versions
        self.stage.wait_for_version(last)
        self.site.close()
        return Outcome(self.site.home("second"), last, self.database)

    def _open(self, start: Path) -> None:
        """Run, update role and node, which know both labs."""
        first, both = self._urls["lab"], ",".join(self._urls.values())
        self.site.url = both
        self.site.keep_secret("update", "secret-order", SECRET)
        self.site.start_update()
        self.site.open_run(self.stage.recipe, start, ["update"])
        self.site.start_node("node", ["--latency", "0.2"])
        self.site.url = first


MakeStage = Callable[..., Stage]


@pytest.mark.slow
def test_a_killed_leader_is_followed_within_ten_seconds_and_nothing_is_lost(
    make_stage: MakeStage, undisturbed: Outcome, start: Path, database: str
) -> None:
    labs = TwoLabs(make_stage(), start, database)
    follows = labs.refused("second")
    assert follows.status_code == 503
    assert follows.headers["retry-after"]
    assert labs.site.url in follows.json()["detail"]
    labs.stage.wait_for_version(1)
    shown = labs.site.history()
    died_s = time.monotonic()
    labs.site.kill("lab")
    labs.taken_over("second", died_s, "kill -9")
    labs.follow("lab")
    labs.stage.wait_for_version(3)
    assert labs.site.history()[: len(shown)] == shown
    shown = labs.site.history()
    died_s = time.monotonic()
    labs.site.kill("second")
    labs.taken_over("lab", died_s, "kill -9")
    outcome = labs.finished()
    assert outcome.policies == undisturbed.policies
    assert outcome.history[: len(shown)] == [statement for _, statement in shown]


@pytest.mark.slow
def test_a_leader_that_slept_writes_nothing_when_it_wakes_and_says_why_it_ends(
    make_stage: MakeStage, undisturbed: Outcome, start: Path, database: str
) -> None:
    labs = TwoLabs(make_stage(), start, database)
    labs.stage.wait_for_version(1)
    slept_s = time.monotonic()
    labs.site.hold("lab")
    labs.taken_over("second", slept_s, "kill -STOP")
    labs.stage.wait(lambda: time.monotonic() - slept_s > ASLEEP_S, "the leader to have slept")
    labs.site.release("lab")
    sleeper = labs.site._processes.pop("lab")
    assert sleeper.wait(30.0) == 1
    said = labs.site._output("lab").read_text()
    assert "this lab leads no more: another lab" in " ".join(said.split())
    watch = leader_watch(database)
    assert watch.look().term.number == 2
    watch.close()
    assert labs.finished().policies == undisturbed.policies
