"""The demo as acts: supervised start, a lab and five unequal nodes, reinforcement learning, judgement.

Each act is a function; `perform` is the order. Progress goes to `tell`, results into the folder; a
failure ends with a sentence and the place of the logs.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from archipel.bench.cheating import PROGRAM as CHEATING
from archipel.bench.site import Site, SiteFailed
from archipel.demo.bill import Bill, bill_of, settled
from archipel.demo.caught import (
    HARD,
    SHOWN_DID,
    Audited,
    Cheat,
    audited_of,
    cheat_of,
    folded,
    found_words,
)
from archipel.demo.control import Control, as_long_as_rl
from archipel.demo.funding import fund
from archipel.demo.hours import Hours
from archipel.demo.plan import CAST, DOOMED, FAST, LATE, SLOW, SLY, DemoPlan
from archipel.demo.trade import CREDIT_USD, VCPU_USD_PER_HOUR, budget_micro, stand_options
from archipel.plurals import counted
from archipel.records.documents import NodeView, RunView
from archipel.records.recipe import Recipe
from archipel.records.statements import Recorded
from archipel.serve.origin import machine
from archipel.training.sft import Progress
from archipel.training.start import Way, start_model

Tell = Callable[[str], None]
POLL_S = 0.2
SETTLE_LIMIT_S = 60.0
AUDITS_LIMIT_S = 10.0
"""Audits that the end of the run left open are waited for so long, if the node that cheats is not found out yet."""
CAUGHT = "a cheat is caught"


@dataclass
class Performance:
    """What the acts leave behind for the ending."""

    plan: DemoPlan
    recipe: Recipe
    secret: bytes
    supervised: Progress | None = None
    supervised_s: float = 0.0
    supervised_cpu_s: float = 0.0
    learning_s: float = 0.0
    run: RunView | None = None
    """The lab's view of the run at its end."""
    nodes: dict[str, NodeView] = field(default_factory=dict)
    """Name -> the lab's view of the node."""
    dids: dict[str, str] = field(default_factory=dict)
    history: list[tuple[int, Recorded]] = field(default_factory=list)
    """The whole ledger: (received at, Unix milliseconds; statement)."""
    events: dict[str, int] = field(default_factory=dict)
    """What happened at which version."""
    interrupted: str | None = None
    """Work that the killed node held when it was last looked at."""
    cheat: Cheat | None = None
    """What became of the node that cheats; None: there is none."""
    audited: Audited | None = None
    """Audits of the run; None: as above."""
    hours: Hours = field(default_factory=Hours)
    bill: Bill | None = None
    """What the run cost; None before its end."""

    @property
    def ended(self) -> RunView:
        """The run at its end.

        Raises:
            SiteFailed: it has not ended.
        """
        if self.run is None:
            raise SiteFailed("the run has not ended")
        return self.run

    @property
    def names(self) -> dict[str, str]:
        """Key -> the name it has here."""
        return {did: name for name, did in self.dids.items()}

    @property
    def start(self) -> Path:
        """Model directory after the supervised stage."""
        return self.plan.folder / "start"

    @property
    def trained(self) -> Path:
        """Model directory after reinforcement learning."""
        return self.plan.folder / "trained"


def perform(
    show: Performance, environment: Mapping[str, str], control: Control, tell: Tell
) -> None:
    """Play the acts up to the trained model; the control learns beside them.

    Raises:
        SiteFailed: a process died or an act took too long.
    """
    with Site(show.plan.folder / "site", environment) as site:
        raise_curtain(show, site, tell)
        supervised_start(show, tell)
        begin_control(show, control, tell)
        open_the_run(show, site, tell)
        learn_together(show, site, tell)
        collect(show, site, tell)


def raise_curtain(show: Performance, site: Site, tell: Tell) -> None:
    """Start lab, update process and the nodes but one; they load while the model starts from nothing."""
    site.start_lab()
    cheat = show.plan.cheat
    named = ", ".join((FAST, SLOW, DOOMED, *([SLY] if cheat else [])))
    tell(f"lab at {site.url}; starting an update process and nodes {named}")
    name = show.recipe.environment.secret
    if name is not None:
        site.keep_secret("update", name, show.secret)
    show.dids["update"] = site.start_update()
    show.dids[FAST] = site.start_node(FAST, stand_options(FAST))
    duty = ["--duty", str(show.plan.slow_duty)]
    show.dids[SLOW] = site.start_node(SLOW, [*stand_options(SLOW), *duty])
    show.dids[DOOMED] = site.start_node(DOOMED, stand_options(DOOMED))
    if cheat is not None:
        way = [*CHEATING, cheat, str(show.plan.cheat_share)]
        show.dids[SLY] = site.start_node(SLY, stand_options(SLY), program=way)


def supervised_start(show: Performance, tell: Tell) -> None:
    """Random weights to a model that knows the form of an answer, but not its content."""
    tell(
        "supervised stage: from random weights, answers in random order (they cannot teach the secret)"
    )
    began, cpu, told = time.monotonic(), time.process_time(), [time.monotonic()]

    def on_step(progress: Progress) -> None:
        if time.monotonic() - told[0] > 2.0:
            told[0] = time.monotonic()
            loss = progress.smoothed_loss or progress.loss
            tell(f"  supervised step {progress.step:4}  loss {loss:.3f} nats/token")

    show.supervised = start_model(show.recipe, show.start, on_step, way=Way(machine=machine("cpu")))
    show.supervised_s, show.supervised_cpu_s = time.monotonic() - began, time.process_time() - cpu
    tell(f"  {counted(show.supervised.step, 'step')} in {show.supervised_s:.1f} s -> {show.start}")


def begin_control(show: Performance, control: Control, tell: Tell) -> None:
    """Supervised on from where RL begins, if the plan has controls."""
    if not show.plan.controls or show.supervised is None:
        return
    longer = as_long_as_rl(show.recipe, show.supervised.step)
    control.begin(longer, show.start)
    tell(
        f"control: beside RL and behind it, {counted(longer.steps, 'supervised step')} from the same start, on as "
        "many sequences"
    )


def open_the_run(show: Performance, site: Site, tell: Tell) -> None:
    """The operator uploads version 0 and opens the run."""
    site.open_run(show.recipe, show.start, ("update",))
    budget = budget_micro(show.recipe)
    fund(site, show.recipe.run.name, budget)
    tell(f"run {show.recipe.run.name} is open: {show.recipe.run.versions} versions, "
         f"staleness at most {show.recipe.run.max_staleness}; {budget / 1e6:.0f} credits set aside "
         f"(a credit is {CREDIT_USD * 1e6:.0f} millionth of a dollar here)")  # fmt: skip


def learn_together(show: Performance, site: Site, tell: Tell) -> None:
    """Reinforcement learning, with a death and a birth on the way."""
    plan, name, last = show.plan, show.recipe.run.name, show.recipe.run.versions
    deadline, told, began = time.monotonic() + plan.limit_s, -1, time.monotonic()
    while (run := site.run(name)) is None or run.phase != "complete":
        site.check_alive()
        if time.monotonic() > deadline:
            raise SiteFailed(f"no end after {plan.limit_s:.0f} s: {site.get('/waits')}")
        if run is not None:
            if told < 0 <= run.version:
                began = time.monotonic()
            if run.version >= told + max(last // 20, 1):
                told = run.version
                tell(progress_line(run))
                _note_hours(show, site)
            _events(show, site, run, tell)
        time.sleep(POLL_S)
    _note_hours(show, site)
    tell(progress_line(run))
    _events(show, site, run, tell)
    learning_ms = run.published_at_ms[-1] - run.opened_at_ms
    show.learning_s = min(learning_ms / 1000, time.monotonic() - began + 1.0)


def _events(show: Performance, site: Site, run: RunView, tell: Tell) -> None:
    progress = run.version / run.versions
    if progress >= show.plan.kill_at and site.running(DOOMED):
        doomed = show.dids[DOOMED]
        site.hold(DOOMED)  # else its answer may arrive between the look and the kill
        time.sleep(POLL_S)
        leases = [each for each in site.leases() if (each.node, each.kind) == (doomed, "rollout")]
        if not leases:
            site.release(DOOMED)
        else:
            _note_hours(show, site)
            site.kill(DOOMED)
            show.interrupted = leases[0].work
            show.events["kill -9"] = run.version
            tell(
                f"  kill -9 {DOOMED}, which held {leases[0].work} ({counted(leases[0].groups, 'group')})"
            )
    if progress >= show.plan.join_at and LATE not in show.dids:
        show.dids[LATE] = site.start_node(LATE, stand_options(LATE))
        show.events["a node joins"] = run.version
        tell(f"  node {LATE} joins")
    if CAUGHT not in show.events and _is_accused(show, SLY, run):
        _tell_caught(show, site, run, tell)


def _note_hours(show: Performance, site: Site) -> None:
    """Look at the work processes of those that the lab knows: what they took to begin is not in it."""
    joined, pids = site.nodes(), site.pids()
    show.hours.note({n: pids[n] for n in CAST if n in pids and show.dids.get(n) in joined})


def _is_accused(show: Performance, name: str, run: RunView) -> bool:
    did = show.dids.get(name)
    return did is not None and any(did[-SHOWN_DID:] in words for words in run.verdicts)


def _tell_caught(show: Performance, site: Site, run: RunView, tell: Tell) -> None:
    """Read the ledger for what the verdict rests on, and what follows."""
    history, plan = site.history(), show.plan
    cheat = cheat_of(show.dids[SLY], plan.cheat_share, run.run, history, folded(history))
    found = cheat.found
    if found is None:
        return
    show.events[CAUGHT] = run.version
    tell(f"  caught: {SLY} {found_words(found, show.names)}")
    more = "is given no more work" if found.outcome == HARD else "is watched more closely"
    tell(f"    {found.taken_micro / 1e6:.3f} of {found.paid_micro / 1e6:.3f} credits are taken back, "
         f"{counted(found.groups_again, 'group')} go to others to be sampled again; {SLY} {more}")  # fmt: skip


def progress_line(run: RunView) -> str:
    """Version, reward, newest evaluation."""
    reward = "  -  " if run.reward is None else f"{run.reward:.3f}"
    exams = run.evaluations
    exam = (
        f"  dev greedy {exams[-1]['greedy'] / 1e6:.3f} at version {exams[-1]['version']}"
        if exams
        else ""
    )
    return f"  version {run.version:3}/{run.versions}  reward {reward}{exam}"


def collect(show: Performance, site: Site, tell: Tell) -> None:
    """Wait for the last evaluation, fetch the weights and read the whole ledger."""
    name, last = show.recipe.run.name, show.recipe.run.versions

    def judged() -> bool:
        run = site.run(name)
        return run is not None and any(exam["version"] == last for exam in run.evaluations)

    site.wait_until(judged, "the last evaluation", SETTLE_LIMIT_S)
    if SLY in show.dids and CAUGHT not in show.events:
        _see_audits_end(show, site, tell)
    show.run = site.run(name)
    views = site.nodes()
    show.nodes = {who: views[show.dids[who]] for who in CAST if show.dids.get(who) in views}
    site.fetch_weights(name, None, show.trained)
    show.history = site.history()
    state, sums = settled(show.history, name)
    show.bill = bill_of(sums, show.hours.used_s, VCPU_USD_PER_HOUR, CREDIT_USD)
    if SLY in show.dids:
        did = show.dids[SLY]
        show.cheat = cheat_of(did, show.plan.cheat_share, name, show.history, state)
        show.audited = audited_of(did, name, show.history, state)
    (show.plan.folder / "run.json").write_text(show.ended.model_dump_json(indent=2))


def _see_audits_end(show: Performance, site: Site, tell: Tell) -> None:
    """The last answers may still be under audit when the last version is made."""
    deadline = time.monotonic() + AUDITS_LIMIT_S
    while time.monotonic() < deadline and CAUGHT not in show.events:
        run = site.run(show.recipe.run.name)
        if run is not None:
            _events(show, site, run, tell)
            known = run.progress.get("audits", {})
            if not known.get("waiting") and not known.get("open"):
                return
        time.sleep(POLL_S)
