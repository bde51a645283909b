"""What a disturbed world left behind, and what is wrong with it.

`Evidence` is plain values; every check returns sentences, none when all is as it must be. Nothing here looks
at a process or a disk: tests spoil one value at a time and see that it is told.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from archipel.lab.state import LabState, Phase
from archipel.market.journal import held, stake, wallet
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.programmes.rl import RlPace
from archipel.records.statements import LeaseGranted, Recorded, WorkAnswered
from tiny import BATCH, NAME


@dataclass(frozen=True)
class Live:
    """What the lab itself said last."""

    version: int = -1
    credits: Mapping[str, int] = field(default_factory=dict)
    """Node -> micro-credits."""


@dataclass(frozen=True)
class Evidence:
    """All that is known of one world that is over."""

    entries: Sequence[bytes]
    """The ledger, as its store holds it."""
    history: Sequence[Recorded]
    state: LabState
    """The ledger, folded."""
    expected: Sequence[str] = ()
    """Digest of every version of the undisturbed run."""
    live: Live = field(default_factory=Live)
    watched: Mapping[int, bytes] = field(default_factory=dict)
    """Entries that the lab showed while it ran, by number."""
    accepted: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Agent -> works whose answers it logged as accepted."""
    lost_blobs: Sequence[str] = ()
    """Digests that the ledger needs and the lab's store does not hold."""
    orphans: Sequence[str] = ()
    """Processes that were still there when all had ended."""
    tracebacks: Mapping[str, str] = field(default_factory=dict)
    """Process -> the last line of a traceback in what it said."""

    @property
    def policies(self) -> list[str]:
        """Digest of every version."""
        answers = (said.answer for said in self.history if isinstance(said, WorkAnswered))
        return [answer.policy for answer in answers if isinstance(answer, UpdateAnswer)]


def weights(found: Evidence) -> list[str]:
    """At S = 0 no fault may change a weight."""
    if list(found.policies) == list(found.expected):
        return []
    pairs = enumerate(zip(found.expected, found.policies, strict=False))
    first = next((number for number, (a, b) in pairs if a != b), None)
    have, want = len(found.policies), len(found.expected)
    return [
        f"{have} versions, expected {want}"
        if first is None
        else f"version {first} has other weights than the undisturbed run's"
    ]


def ended(found: Evidence) -> list[str]:
    """The run is over, with as many versions as it was to have."""
    run = found.state.runs.get(NAME)
    if run is None:
        return ["the ledger knows no such run"]
    return [] if run.phase is Phase.COMPLETE else [f"the run is {run.phase.value} at its end"]


def accepted_once(found: Evidence) -> list[str]:
    """Each group counts once, each lease at most one answer."""
    grants = {said.work: said.spec for said in found.history if isinstance(said, LeaseGranted)}
    works = [said.work for said in found.history if isinstance(said, WorkAnswered)]
    wrong = [f"{work} was answered {n} times" for work, n in Counter(works).items() if n > 1]
    specs = [grants.get(work) for work in works]
    groups = [group for spec in specs if isinstance(spec, RolloutSpec) for group in spec.groups]
    wanted = (len(found.expected) - 1) * BATCH
    wrong += [f"group {group} counted {n} times" for group, n in Counter(groups).items() if n > 1]
    missing = sorted(set(range(wanted)) - set(groups))
    return wrong + ([f"groups {missing} were never counted"] if missing else [])


def lost_records(found: Evidence) -> list[str]:
    """What an agent was told is accepted stands in the ledger, as its own."""
    told = {said.work: said.author for said in found.history if isinstance(said, WorkAnswered)}
    return [
        f"{work}, which {agent} logged as accepted, is not in the ledger as its answer"
        for agent, works in found.accepted.items()
        for work in works
        if told.get(work) != agent
    ]


def watched_entries(found: Evidence) -> list[str]:
    """What anybody was once shown stays where it was."""
    return [
        f"entry {number}, once shown, is {'gone' if number >= len(found.entries) else 'another'}"
        for number, data in found.watched.items()
        if number >= len(found.entries) or found.entries[number] != data
    ]


def replayed_as_live(found: Evidence) -> list[str]:
    """The ledger, folded, says what the lab said."""
    run, book = found.state.runs.get(NAME), found.state.book
    version = -1 if run is None else run.version
    wrong = (
        [f"the lab said version {found.live.version}, its ledger {version}"]
        if version != found.live.version
        else []
    )
    unsaid = sorted(set(found.state.nodes) - set(found.live.credits))
    wrong += [f"the lab said nothing of {did}, whom its ledger knows" for did in unsaid]
    return wrong + [
        f"the lab said {micro} micro-credits of {did}, its ledger {owned}"
        for did, micro in found.live.credits.items()
        if (owned := book.get(wallet(did), 0) + book.get(stake(did), 0)) != micro
    ]


def books(found: Evidence) -> list[str]:
    """Balances add up to zero; the operator paid each group once, and nodes earned it once; held is what is open alone."""
    book, run = found.state.book, found.state.runs.get(NAME)
    wrong = [f"balances add up to {total}"] if (total := sum(book.values())) else []
    if run is not None and isinstance(run.opened.pace, RlPace):
        owed = run.version * BATCH * run.opened.pace.price_micro
        paid = -book.get(wallet(run.opened.author), 0)
        wrong += (
            [f"the operator paid {paid} micro-credits, expected {owed}"] if paid != owed else []
        )
        earned = sum(
            book.get(wallet(did), 0) + book.get(stake(did), 0) for did in found.state.nodes
        )
        wrong += [f"nodes earned {earned} micro-credits, expected {owed}"] if earned != owed else []
        leases = [each for each in found.state.leases.values() if each.spec.run == NAME]
        kept, wanted = book.get(held(NAME), 0), sum(each.price_micro for each in leases)
        wrong += [f"{kept} micro-credits are held, expected {wanted}"] if kept != wanted else []
    return wrong


def blobs(found: Evidence) -> list[str]:
    """What an accepted record names is still there, and still the same bytes."""
    return [f"blob {digest} is lost" for digest in found.lost_blobs]


def orphans(found: Evidence) -> list[str]:
    """Nothing that was started is left."""
    return [f"left behind: {each}" for each in found.orphans]


def tracebacks(found: Evidence) -> list[str]:
    """Whatever happens is told in a sentence."""
    return [f"{name} ended in a traceback: {line}" for name, line in found.tracebacks.items()]


CHECKS: tuple[Callable[[Evidence], list[str]], ...] = (
    ended,
    weights,
    accepted_once,
    lost_records,
    watched_entries,
    replayed_as_live,
    books,
    blobs,
    orphans,
    tracebacks,
)


def wrong_with(found: Evidence) -> list[str]:
    """Every check's sentences."""
    return [sentence for check in CHECKS for sentence in check(found)]
