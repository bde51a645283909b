"""Why does nothing move? What a run waits for, who owns the wait, until when. Pure.

A programme says what its runs wait for; the sentences that all programmes share are here.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from archipel.extras import install
from archipel.lab import failures
from archipel.lab.state import (
    LabState,
    Lease,
    Node,
    Run,
    abilities,
    ability,
)
from archipel.lab.tallies import Pause, Trouble
from archipel.plurals import counted
from archipel.records.backends import FOREIGN
from archipel.records.documents import Wait
from archipel.records.engine_classes import CLASSES

ACTIVE_MS = 60_000
"""A node that was silent this long does not count when work is shared out."""


@dataclass(frozen=True)
class Sight:
    """A state as it is looked at now; what takes a look at every node is computed once for all runs."""

    state: LabState
    now_ms: int

    @cached_property
    def able(self) -> Counter[str]:
        """`ability` -> nodes that are here, have it, and were heard of lately or hold work."""
        return Counter(word for node in self._active for word in _abilities(node))

    @cached_property
    def stated_mb(self) -> Mapping[str, list[int]]:
        """`ability` -> memory of those that state theirs, ascending."""
        found: dict[str, list[int]] = {}
        for node in self._active:
            if (stated := node.capabilities.memory_mb) is not None:
                for word in _abilities(node):
                    found.setdefault(word, []).append(stated)
        return {word: sorted(each) for word, each in found.items()}

    @property
    def _active(self) -> Iterator[Node]:
        for node in self.state.nodes.values():
            if node.did in self.state.paused:
                continue
            if node.present and (node.leases or self.now_ms - node.last_seen_ms < ACTIVE_MS):
                yield node


def _abilities(node: Node) -> frozenset[str]:
    return abilities(set(node.capabilities.kinds), node.meets)


def pause_of(run: Run, pause: Pause) -> Wait:
    """Its operator said so; nothing is stuck, and nothing runs out but leases that were granted before."""
    why = f" ({words})" if (words := failures.printable(pause.reason)) else ""
    again = f"resume with `archipel run resume {run.name}`"
    num = len(run.leases)
    one = num == 1
    held = (
        f"{num} {'lease is' if one else 'leases are'} still out and may be answered; "
        if num
        else ""
    )
    return Wait(
        run=run.name,
        waiting_for=f"paused by {run.name}'s owner{why}; {again}",
        owner=pause.by,
        left_s=None,
        advice=f"{held}nothing is handed out before it is resumed",
    )


def out_of_credits(run: Run, left_micro: int, least_micro: int) -> Wait:
    """Work lies there that its escrow cannot pay; whoever likes ends the wait."""
    num = len(run.leases)
    held = (
        f"{counted(num, 'lease is', 'leases are')} still out, and paid when answered; "
        if num
        else ""
    )
    return Wait(
        run=run.name,
        waiting_for=f"out of credits: fund it with `archipel run fund {run.name} CREDITS`",
        owner="its sponsors",
        left_s=None,
        advice=f"{held}{left_micro / 1e6:.6f} credits are left, and the smallest piece of work takes "
        f"{least_micro / 1e6:.6f}",
    )


def leased(run: Run, lease: Lease, what: str, now_ms: int) -> Wait:
    """Somebody holds the work."""
    known = failures.trouble(run, lease.spec.kind)
    before = "" if known is None else f"; {failures.words(known)}"
    return Wait(
        run=run.name,
        waiting_for=f"{what} ({lease.work}){before}",
        owner=lease.node,
        left_s=(lease.deadline_ms - now_ms) / 1000,
        advice="at the deadline the work goes to somebody else",
    )


def nobody(sight: Sight, run: Run, what: str, kind: str, need: str | None) -> Wait:
    """Work of a stranger's kind lies there, which may need something of a node, and nobody holds it."""
    word, needed_mb = ability(kind, need), run.opened.pace.memory_mb
    stated = sight.stated_mb.get(word, []) if needed_mb is not None else []
    small = bisect_left(stated, needed_mb or 0)
    known, number = failures.trouble(run, kind), sight.able[word] - small
    if known is not None:
        rest = [node for node in _present(sight, known.nodes) if _rests(sight, node, run, kind)]
        number -= len(rest)
        if rest and number < 1:
            return failing(run, known, what, rest, sight.now_ms)
    before = "" if known is None else f"; {failures.words(known)}"
    advice = (
        f"{counted(number, 'node was', 'nodes were')} heard of in the last minute; "
        f"{'they are' if number > 1 else 'it is'} asked next"
        if number
        else _larger(small, needed_mb)
        if small and needed_mb is not None
        else _calling(sight.able[kind], need)
    )
    owner = "the lab" if number else "nobody"
    return Wait(run=run.name, waiting_for=what + before, owner=owner, left_s=None, advice=advice)


def _larger(small: int, needed_mb: int) -> str:
    """For a node with more memory; `small` are at work and stated less."""
    return (
        f"{counted(small, 'node is', 'nodes are')} at work, with less memory than the {needed_mb / 1000:.1f} GB "
        "that this run needs: run `archipel node join LAB_URL` on a larger machine, or with a higher "
        "--max-memory-gb"
    )


def _calling(others: int, need: str | None) -> str:
    """For a node; `others` are at work and cannot do what the run asks for."""
    join = "run `archipel node join LAB_URL`"
    if need is None or not others:
        return f"no node is at work: {join} on any machine"
    said = (
        "1 node is at work, but did not state"
        if others == 1
        else (f"{others} nodes are at work, but none stated")
    )
    return (
        f"{said} that it can do {need}, which this run asks for: {join} with {_by_what(need)}; "
        "a node says at its start what it cannot do, and why"
    )


def _by_what(need: str) -> str:
    if (extra := need.split()[-1]) in FOREIGN:
        return f"the extra that computes its model (in the folder of archipel's sources: {install(extra)})"
    if (name := need.split()[0]) in CLASSES:
        engine, precision, device = name.split("-")
        dtype = {"fp32": "float32", "bf16": "bfloat16"}[precision]
        return f"--engine {engine} --dtype {dtype} --device {device}"
    return "the engine archipel" if need.startswith("exact-") else "this version of archipel"


def absent_trainer(sight: Sight, run: Run, what: str, kind: str) -> Wait:
    """Work of a trusted key lies there, and nobody holds it."""
    known, named = failures.trouble(run, kind), _present(sight, run.opened.trusted)
    if known is not None and named:
        return failing(run, known, what, named, sight.now_ms)
    silent = [(sight.now_ms - node.last_seen_ms, node.did) for node in named]
    heard = sorted(each for each in silent if each[0] < ACTIVE_MS)
    start = "start it with `archipel update join LAB_URL` on the machine that holds this key"
    advice = (
        f"its machine was last heard of {heard[0][0] / 1000:.0f} s ago: if it still runs, it takes this "
        f"within seconds, else {start}"
        if heard
        else start
    )
    owner = heard[0][1] if heard else run.opened.trusted[0]
    return Wait(run=run.name, waiting_for=what, owner=owner, left_s=None, advice=advice)


def failing(run: Run, known: Trouble, what: str, able: list[Node], now_ms: int) -> Wait:
    """Work lies there, and whoever could do it failed at it; it is tried again after a rest."""
    left_ms = min(failures.rest_ms(node, run, known.kind, now_ms) for node in able)
    return Wait(
        run=run.name,
        waiting_for=f"{what}; {failures.words(known)}",
        owner=known.nodes[-1],
        left_s=max(left_ms, 0) / 1000,
        advice="it is tried again then; mend what it says and try at once with `archipel run retry "
        f"{run.name}`, or end the run with `archipel run stop {run.name}`",
    )


def _present(sight: Sight, dids: Iterable[str]) -> list[Node]:
    nodes = (sight.state.nodes.get(did) for did in dids)
    return [node for node in nodes if node is not None and node.present]


def _rests(sight: Sight, node: Node, run: Run, kind: str) -> bool:
    return failures.rest_ms(node, run, kind, sight.now_ms) > 0
