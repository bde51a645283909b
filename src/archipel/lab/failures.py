"""Work that fails time after time: it rests on the nodes on which it failed, and its run says so. Pure.

Law: a failure counts against the pair of a node and a kind of work of one run. A node's word keeps work
from that node alone, never from others: strangers who say that all work fails stop nobody. The node is
offered everything else meanwhile, and the same again after a rest that grows with each failure, or as soon
as the node joins anew with nothing in its hands. What the trusted role cannot do is so set aside for the whole
run.
"""

from archipel.lab.state import Node, Run
from archipel.lab.tallies import Failing, Trouble
from archipel.records.changed import changed
from archipel.records.fields import Fault

FREE_TRIES = 1
"""A first failure costs no rest: a child may die once."""
FIRST_REST_MS = 5_000
LONGEST_REST_MS = 600_000
ASIDE_AFTER = 3
"""Failures in a row after which work counts as set aside."""
MAX_FAILING = 16
"""Pairs remembered of one node; the oldest are forgotten, and tried again."""
MAX_FAILING_TRUSTED = 1000
"""Of a node whose key an operator named; a lab has no more runs that go on."""
MAX_NODES_NAMED = 8


def failed(
    run: Run, node: Node, kind: str, fault: Fault | None, reason: str, at_ms: int
) -> tuple[Run, Node]:
    """Both after the node gave this work back. What is nobody's fault, or only took too long, is no failure."""
    if fault not in ("work", "machine"):
        return run, node
    before = _failing(node, run, kind)
    again = Failing(kind, run.name, 1 + (before.times if before else 0), at_ms)
    is_trusted = node.did in run.opened.trusted
    most = MAX_FAILING_TRUSTED if is_trusted else MAX_FAILING
    node = changed(node, failing=(*_others(node, run, kind), again)[-most:])
    if fault == "machine" and not is_trusted:
        return run, node
    known = trouble(run, kind)
    nodes = tuple(did for did in (known.nodes if known else ()) if did != node.did)
    worse = Trouble(
        kind=kind,
        times=1 + (known.times if known else 0),
        nodes=(*nodes, node.did)[-MAX_NODES_NAMED:],
        reason=printable(reason),
        at_ms=at_ms,
    )
    return changed(run, troubles=(*_but(run, kind), worse)), node


def went_well(run: Run, node: Node, kind: str) -> tuple[Run, Node]:
    """Both after the node did such work."""
    if node.failing:
        node = changed(node, failing=_others(node, run, kind))
    if run.troubles:
        run = changed(run, troubles=_but(run, kind))
    return run, node


def retried(run: Run, at_ms: int) -> Run:
    """The run as if none of its work had failed."""
    return changed(run, troubles=(), retried_at_ms=at_ms)


def rest_ms(node: Node, run: Run, kind: str, now_ms: int) -> int:
    """Until the node is offered such work again; 0 or less: now."""
    known = _failing(node, run, kind)
    if known is None or known.times <= FREE_TRIES:
        return 0
    rest = min(FIRST_REST_MS << min(known.times - FREE_TRIES - 1, 16), LONGEST_REST_MS)
    return known.at_ms + rest - now_ms


def trouble(run: Run, kind: str) -> Trouble | None:
    """How such work fails, if it does."""
    return next((each for each in run.troubles if each.kind == kind), None)


def words(known: Trouble) -> str:
    """For people."""
    times = "once" if known.times == 1 else f"{known.times} times in a row"
    where = "" if len(known.nodes) == 1 else f" on {_many(len(known.nodes))} nodes"
    aside = "set aside: " if known.times >= ASIDE_AFTER else ""
    return f"{aside}{known.kind} work failed {times}{where}, last: {known.reason}"


def _many(number: int) -> str:
    return f"{number} or more" if number == MAX_NODES_NAMED else str(number)


def _failing(node: Node, run: Run, kind: str) -> Failing | None:
    named = (each for each in node.failing if (each.run, each.kind) == (run.name, kind))
    return next((each for each in named if each.at_ms > run.retried_at_ms), None)


def _others(node: Node, run: Run, kind: str) -> tuple[Failing, ...]:
    return tuple(each for each in node.failing if (each.run, each.kind) != (run.name, kind))


def _but(run: Run, kind: str) -> tuple[Trouble, ...]:
    return tuple(each for each in run.troubles if each.kind != kind)


def printable(text: str) -> str:
    """A stranger's words must not steer a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
