"""A lab of real processes with a model so small that a run is over in seconds.

`Stage` opens the run, waits, and at the end reads the ledger as anybody could: it must replay, its
books must balance, and every group must have been paid once.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from archipel.bench.site import Site
from archipel.cli.ledger_checked import HEAD_FILE
from archipel.identity import Identity
from archipel.lab.entry import read_entry
from archipel.lab.programmes.rl import course
from archipel.lab.recovery import pages, replay
from archipel.lab.state import LabState, Phase, Run
from archipel.ledger.location import read_log
from archipel.ledger.verification import lab_key
from archipel.market.journal import held, wallet
from archipel.records.batches import Batches
from archipel.records.documents import NodeView
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.programmes.rl import RlPace
from archipel.records.statements import LeaseGranted, Recorded, WorkAnswered
from tiny import BATCH, NAME, SECRET, tiny_recipe

LIMIT_S = 120.0
"""A hard end to every wait: a whole run takes a few seconds on an idle machine."""
EVERY_PROCESS = {
    "PATH": os.defpath,
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}


class Stage:
    """One run at one site."""

    def __init__(self, folder: Path, start: Path, versions: int, staleness: int) -> None:
        self.site = Site(folder, EVERY_PROCESS)
        self.recipe = tiny_recipe(versions, staleness)
        self._start = start

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self.site.close()

    def open(self, *trusted: str) -> None:
        """Lab, update processes and run, in this order."""
        self.site.start_lab()
        names = trusted or ("update",)
        for name in names:
            self.site.keep_secret(name, "secret-order", SECRET)
            self.site.start_update(name)
        self.site.open_run(self.recipe, self._start, names)

    def restart_lab(self, *, while_down: Callable[[], None] = lambda: None) -> None:
        """Kill -9, then the same port and home again."""
        port = int(self.site.url.rsplit(":", 1)[1])
        self.site.kill("lab")
        while_down()
        self.site.start_lab(port)

    def version(self) -> int:
        run = self.site.run(NAME)
        return -1 if run is None else run.version

    def leased(self, name: str, kind: str) -> bool:
        """Whether `name` holds work of this kind right now."""
        did = self.site.did(name)
        return any(lease.node == did and lease.kind == kind for lease in self.site.leases())

    def wait_for_update(self, latest: int) -> None:
        """Until an update is in the making, or, if it is always over too soon, version `latest`."""
        self.wait(lambda: self.leased("update", "update") or self.version() >= latest, "an update")

    def node(self, name: str) -> NodeView | None:
        return self.site.nodes().get(self.site.did(name))

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        self.site.wait_until(condition, what, LIMIT_S)

    def wait_for_version(self, version: int) -> None:
        self.wait(lambda: self.version() >= version, f"version {version}")

    def child(self, name: str) -> int:
        """Process id of the work process of `name`."""
        parent = self.site._processes[name].pid
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        assert len(listed) == 1, listed
        return int(listed[0])

    def kill_child(self, name: str) -> None:
        os.kill(self.child(name), signal.SIGKILL)

    def finished(self) -> "Outcome":
        """Wait for the run's end, end everything, and read the ledger."""
        last = self.recipe.run.versions
        self.wait_for_version(last)
        self.site.close()
        return Outcome(self.site.home("lab"), last)


class Outcome:
    """What the ledger says of a run that is over."""

    def __init__(self, home: Path, versions: int, ledger: str | None = None) -> None:
        did = Identity.load(home / "lab.key").did
        log = read_log(ledger or home / "ledger.sqlite", lab_key(did), home / HEAD_FILE)
        log.verify()
        entries = list(pages(log))
        log.close()
        self.state: LabState = replay(did, entries)
        self.run: Run = self.state.runs[NAME]
        self.history: list[Recorded] = [read_entry(each).statement for each in entries]
        answers = [said.answer for said in self.history if isinstance(said, WorkAnswered)]
        updates = [answer for answer in answers if isinstance(answer, UpdateAnswer)]
        self.versions = [each for each in updates if each.more is None]
        self.further: Counter[int] = Counter()
        """Batch -> further groups that it asked for."""
        for each in updates:
            self.further[each.version - 1] += each.more or 0
        self._check(versions)

    @property
    def staleness(self) -> dict[int, int]:
        """Staleness -> groups that an update consumed."""
        return dict(course(self.run).staleness)

    def _check(self, versions: int) -> None:
        run, num_first = self.run, versions * BATCH
        num_groups = num_first + self.further.total()
        assert run.phase is Phase.COMPLETE
        assert run.version == versions
        assert sum(self.staleness.values()) == num_groups
        assert isinstance(run.opened.pace, RlPace)
        assert max(self.staleness) <= run.opened.pace.max_staleness
        groups = sorted(group for spec in self._accepted() for group in spec.groups)
        own = Batches(versions, BATCH, run.opened.pace.refill or 0)
        further = (group for n, num in self.further.items() for group in own.further(n)[:num])
        assert groups == [*range(num_first), *sorted(further)], "a group was lost or counted twice"
        book, price = self.state.book, run.opened.pace.price_micro
        assert sum(book.values()) == 0
        audits = run.paid_micro - num_groups * price
        assert audits >= 0
        assert audits == 0 or run.opened.pace.audit is not None
        still = book.get(held(NAME), 0)
        assert still == 0 or run.opened.pace.audit is not None
        assert book[wallet(run.opened.author)] == -run.paid_micro - still
        self._check_learning(versions)

    def _accepted(self) -> list[RolloutSpec]:
        grants = {said.work: said.spec for said in self.history if isinstance(said, LeaseGranted)}
        specs = [grants[said.work] for said in self.history if isinstance(said, WorkAnswered)]
        return [spec for spec in specs if isinstance(spec, RolloutSpec)]

    def _check_learning(self, versions: int) -> None:
        dull = 0
        for parent, made in zip(self.versions, self.versions[1:], strict=False):
            is_dull = made.metrics["zero_advantage_groups"] == made.metrics["groups"]
            dull += is_dull
            assert made.parent == parent.policy
            assert (made.policy == parent.policy) == is_dull, "equal rewards alone change nothing"
        assert [made.version for made in self.versions] == list(range(versions + 1))
        assert len(set(self.policies)) == versions + 1 - dull
        assert dull <= versions // 8, "too little was learned: equal weights prove nothing"

    @property
    def weights(self) -> str:
        """Digest of the last version."""
        return self.versions[-1].policy

    @property
    def policies(self) -> list[str]:
        """Digest of every version."""
        return [version.policy for version in self.versions]
