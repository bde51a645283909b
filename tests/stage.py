"""A lab of real processes with a model so small that a run is over in seconds.

`Stage` opens the run, waits, and at the end reads the ledger as anybody could: it must replay, its
books must balance, and every group must have been paid once.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from archipel.bench.site import Site
from archipel.identity import Identity
from archipel.lab.lab import replay
from archipel.lab.state import LabState, Phase, Run
from archipel.ledger.location import read_log
from archipel.ledger.signed_note import NoteKey
from archipel.model.tokenizer import character_tokenizer
from archipel.node.client import LabClient
from archipel.node.operator import Vocabulary, open_run
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
        dids = []
        for name in trusted or ("update",):
            self.site.keep_secret(name, "secret-order", SECRET)
            dids.append(self.site.start_update(name))
        asyncio.run(self._open_run(tuple(dids)))

    async def _open_run(self, trusted: tuple[str, ...]) -> None:
        client = LabClient(self.site.url, self.site.operator())
        tokenizer = character_tokenizer()
        vocabulary = Vocabulary(tokenizer.vocab_size, (tokenizer.eos_id,))
        try:
            await open_run(client, self.recipe, vocabulary, self._start, trusted)
        finally:
            await client.close()

    def restart_lab(self, *, while_down: Callable[[], None] = lambda: None) -> None:
        """Kill -9, then the same port and home again."""
        port = int(self.site.url.rsplit(":", 1)[1])
        self.site.kill("lab")
        while_down()
        self.site.start_lab(port)

    def version(self) -> int:
        run = self.site.get(f"/runs/{NAME}")
        return -1 if run is None else int(run["version"])

    def leased(self, name: str, kind: str) -> bool:
        """Whether `name` holds work of this kind right now."""
        did = self.site.did(name)
        leases = self.site.get("/leases") or []
        return any(lease["node"] == did and lease["kind"] == kind for lease in leases)

    def wait_for_update(self, latest: int) -> None:
        """Until an update is in the making, or, if it is always over too soon, version `latest`."""
        self.wait(lambda: self.leased("update", "update") or self.version() >= latest, "an update")

    def node(self, name: str) -> Mapping[str, object]:
        did = self.site.did(name)
        return next((each for each in self.site.get("/nodes") or [] if each["node"] == did), {})

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

    def __init__(self, home: Path, versions: int) -> None:
        lab = Identity.load(home / "lab.key")
        origin = f"archipel.lab/{lab.did.rsplit(':', 1)[-1]}"
        log = read_log(home / "ledger.sqlite", NoteKey(origin, lab.public_key))
        log.verify()
        self.state: LabState = replay(lab.did, log)
        log.close()
        self.run: Run = self.state.runs[NAME]
        self._check(versions)

    def _check(self, versions: int) -> None:
        run, state = self.run, self.state
        num_groups = versions * BATCH
        assert run.phase is Phase.COMPLETE
        assert run.version == versions
        assert run.num_groups == num_groups, "a group was lost or counted twice"
        assert sum(run.staleness.values()) == num_groups
        assert max(run.staleness) <= run.opened.pace.max_staleness
        assert sum(state.balances.values()) == 0
        assert state.balances[run.opened.author] == -num_groups * run.opened.pace.price_micro
        policies = [version.policy for version in run.versions]
        dull = 0
        for parent, made in zip(run.versions, run.versions[1:], strict=False):
            is_dull = made.metrics["zero_advantage_groups"] == made.metrics["groups"]
            dull += is_dull
            assert (made.policy == parent.policy) == is_dull, "equal rewards alone change nothing"
        assert len(set(policies)) == versions + 1 - dull
        assert dull <= versions // 8, "too little was learned: equal weights prove nothing"
        learned = [(v, each.work) for v, used in enumerate(run.updates) for each in used]
        assert len(learned) == len(set(learned))

    @property
    def weights(self) -> str:
        """Digest of the last version."""
        return self.run.versions[-1].policy

    @property
    def policies(self) -> list[str]:
        """Digest of every version."""
        return [version.policy for version in self.run.versions]
