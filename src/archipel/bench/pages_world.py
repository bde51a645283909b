"""A lab with much to show: a ledger of thousands of nodes and a thousand versions, its fold, and its chronicle.

Everything is said as the lab, its nodes and its learner would have said it (`lab_filler`), one entry a second; what
versions measured is made up, smooth, and the same every time.
"""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from archipel.bench.lab_filler import Filler
from archipel.bench.lab_run import TERMS
from archipel.dashboard.chronicle.writing import ChronicleWriter
from archipel.dashboard.told import Told
from archipel.identity import Identity
from archipel.lab.entry import Entry
from archipel.lab.state import LabState
from archipel.ledger.location import open_log
from archipel.ledger.log import Log
from archipel.ledger.verification import lab_key
from archipel.market.journal import Posting, listening
from archipel.records.kinds import Answer
from archipel.records.kinds.evaluate import EvaluateAnswer
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.statements import LeaseGranted, Recorded

BATCH = 4096
"""Entries told to the chronicle at once."""
GROUPS = 10
"""A version is made from."""
TELL_EVERY = 50


@dataclass(frozen=True)
class PagesWorld:
    """A home as a lab leaves it: `ledger.sqlite`, `ledger.head`, `chronicle.sqlite`, `lab.key`."""

    home: Path
    state: LabState
    now_ms: int
    """Time of its last entry."""
    told_s: float
    """Spent in adding entries to the chronicle."""


def pages_world(
    home: Path, versions: int, nodes: int, tell: Callable[[str], None] = lambda _: None
) -> PagesWorld:
    """Make one in an empty `home`.

    Raises:
        FileExistsError: there is a home already.
    """
    home.mkdir(parents=True, mode=0o700)
    try:
        identity = Identity.load_or_create(home / "lab.key")
        origin = lab_key(identity.did).name
        log = open_log(home / "ledger.sqlite", origin, identity, home / "ledger.head")
        try:
            with ChronicleWriter(home / "chronicle.sqlite", identity.did) as writer:
                told = _Telling(writer)
                lab = _lab_of(versions)(nodes, log, identity, told)
                lab.learn_all(tell)
                told.flush()
        finally:
            log.close()
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    return PagesWorld(home, lab.state, lab.now_ms, told.spent_s)


class _Telling:
    """Batches for a chronicle."""

    def __init__(self, writer: ChronicleWriter) -> None:
        self._writer = writer
        self._batch: list[Told] = []
        self.spent_s = 0.0

    def take(self, told: Told) -> None:
        self._batch.append(told)
        if len(self._batch) >= BATCH:
            self.flush()

    def flush(self) -> None:
        began = time.perf_counter()
        self._writer.take(self._batch)
        self.spent_s += time.perf_counter() - began
        self._batch = []


class _Lab(Filler):
    """Its nodes work in turn, however many there are."""

    versions = 1
    step_ms = 1000

    def __init__(self, nodes: int, log: Log, identity: Identity, telling: _Telling) -> None:
        self._telling = telling
        self._nodes = nodes
        super().__init__(nodes, log, identity, GROUPS)

    @property
    def now_ms(self) -> int:
        """Time of the last entry."""
        return self._now_ms

    def say(self, author: Identity, statement: Recorded) -> Entry:
        """As ever, and the chronicle is told."""
        heard: list[Posting] = []
        with listening(heard.append):
            entry = super().say(author, statement)
        number = self.state.size - 1
        self._telling.take(Told(number, entry.at_ms, statement, tuple(heard)))
        return entry

    def learn_all(self, tell: Callable[[str], None]) -> None:
        """Until the last version is out, and everything is in the ledger."""
        people, turn, told = [*self.people.values()], 0, -1
        while True:
            self.learn()
            version = next(iter(self.state.runs.values())).version
            if version % TELL_EVERY == 0 and version != told:
                told = version
                tell(f"version {version} of {self.versions}, {self.state.size} entries")
            if version >= self.versions:
                break
            author = people[turn % len(people)]
            turn += 1
            work = self.request(author, ("rollout",))
            if work is not None:
                self.say(author, self.answered(author, work))
        self.flush()

    def _begins_ms(self) -> int:
        entries = self._nodes + self.versions * (2 * GROUPS + 3)
        return time.time_ns() // 1_000_000 - entries * self.step_ms

    def _answer(self, work: LeaseGranted) -> Answer:
        answer = super()._answer(work)
        if isinstance(answer, UpdateAnswer):
            return answer.model_copy(update={"metrics": _measured(answer.version, self.versions)})
        if isinstance(answer, EvaluateAnswer):
            reward = _reward(answer.version, self.versions)
            return answer.model_copy(update={"metrics": {"greedy": reward, "num_tasks": 200}})
        return answer


def _lab_of(versions: int) -> type[_Lab]:
    """The class whose run has so many versions, and ten evaluations of them."""
    evaluate_every = max(versions // 10, 1)
    terms = TERMS.model_copy(
        update={"versions": versions, "evaluate_every": evaluate_every, "keep_versions": 64}
    )
    return type("_LabOf", (_Lab,), {"terms": terms, "versions": versions})


def _reward(version: int, versions: int) -> int:
    return round(1e6 * (0.85 - 0.6 * math.exp(-4 * version / versions)))


def _measured(version: int, versions: int) -> dict[str, int]:
    """What a learner would have measured."""
    wave = math.sin(version / 7)
    reward = _reward(version, versions) + round(20_000 * wave)
    if version == 0:
        return {"full_bytes": 2**22}
    return {
        "reward_micro": reward,
        "loss_micro": round(-5_000 * wave),
        "entropy_micro": 1_200_000 - reward // 2,
        "grad_norm_micro": 400_000 + round(50_000 * wave),
        "mismatch_kl_micro": 900,
        "ratio_max_micro": 1_100_000,
        "effective_sample_fraction_micro": 980_000,
        "finished_fraction_micro": 930_000,
        "groups": GROUPS,
        "zero_advantage_groups": version % 4,
        "tokens": 16 * GROUPS,
        "update_ms": 800 + version % 50,
        "delta_bytes": 2**18 + version,
    }
