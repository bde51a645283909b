"""What an operator's own page shows: its machines, what they earned and how soon, what is disputed, what was clicked. Pure.

Law: the figures are the look's and the series'; nothing here is known of an operator that the public pages do not tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from archipel.dashboard.pages.rows import state_of
from archipel.dashboard.sessions.sessions import Session
from archipel.dashboard.source import Look
from archipel.market.journal import wallet
from archipel.records.documents import NodeView
from archipel.records.login import Act, Outcome, Wish
from archipel.records.page_documents import MAX_NODES_SHOWN

MAX_DISPUTES = 20
UNREAD = "when it earned first is not known now: the chronicle cannot be read"


class Pay(Protocol):
    """Credits that came."""

    @property
    def micro(self) -> int: ...

    @property
    def first_entry(self) -> int: ...


class Pays(Protocol):
    """The part of a chronicle that is asked for the first pay."""

    def first_pay(self, accounts: Sequence[str]) -> Pay | None: ...


@dataclass(frozen=True, slots=True)
class First:
    """The first pay of somebody."""

    micro: int
    entry: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Machine:
    """One of an operator's nodes."""

    node: str
    state: str
    """In one word, as on every page."""
    reason: str | None
    """Why it is paused or retired, as its operator said it."""
    leases: tuple[str, ...]
    groups: int
    tokens: int
    device: str
    engine: str
    acts: tuple[Act, ...]
    """What can be clicked."""


@dataclass(frozen=True, slots=True)
class Own:
    """What the page says."""

    by: str
    size: int
    machines: tuple[Machine, ...]
    credit_micro: int
    stake_micro: int
    first: str
    """When the first earnings came, in words."""
    first_entry: int | None
    disputes: tuple[Mapping[str, Any], ...]
    is_attended: bool
    wishes: tuple[Wish, ...]
    outcomes: tuple[Outcome, ...]

    def facts(self) -> dict[str, Any]:
        """As JSON shows them."""
        told = asdict(self)
        told["wishes"] = [each.model_dump() for each in self.wishes]
        told["outcomes"] = [each.model_dump() for each in self.outcomes]
        return told


def nodes_of(look: Look, did: str) -> list[NodeView]:
    """Nodes that this key may speak for: an operator's, or one without an operator itself."""
    alone = look.node(did)
    if alone is not None and alone.operator is None:
        return [alone]
    return list(look.nodes(0, MAX_NODES_SHOWN, operator=did))


def is_of(look: Look, did: str, node: str) -> bool:
    """Whether this key may speak for that node."""
    found = look.node(node)
    return found is not None and (found.operator or found.node) == did


def is_known(look: Look, did: str) -> bool:
    """Whether any node here is this key's."""
    return bool(nodes_of(look, did))


def own_page(look: Look, session: Session, first: First | None, is_lab: bool, now_ms: int) -> Own:
    """is_lab: it knows when nodes were heard of last."""
    did = session.by
    nodes = nodes_of(look, did)
    joined = [at_ms for each in nodes if (at_ms := look.joined(each.node)) is not None]
    operator = look.operator(did)
    disputes = look.audits(0, MAX_DISPUTES, operator=did)
    return Own(
        by=did,
        size=look.size,
        machines=tuple(_machine(each, is_lab) for each in nodes),
        credit_micro=nodes[0].credit_micro if nodes else operator.wallet_micro if operator else 0,
        stake_micro=nodes[0].stake_micro if nodes else 0,
        first=_first_words(first, min(joined, default=None)),
        first_entry=None if first is None else first.entry,
        disputes=tuple(each.model_dump() for each in disputes),
        is_attended=session.is_attended(now_ms),
        wishes=tuple(session.wishes),
        outcomes=tuple(reversed(session.outcomes)),
    )


def _machine(view: NodeView, is_lab: bool) -> Machine:
    return Machine(
        node=view.node,
        state=state_of(view, is_lab)[0],
        reason=view.revoked if view.paused is None else view.paused,
        leases=view.leases,
        groups=view.groups,
        tokens=view.tokens,
        device=view.device,
        engine=view.engine,
        acts=_acts(view),
    )


def _acts(view: NodeView) -> tuple[Act, ...]:
    if view.revoked is not None:
        return ()
    may: tuple[Act, ...] = ("resume",) if view.paused is not None else ("pause",)
    return may if view.operator is None else (*may, "retire")


def _first_words(first: First | None, joined_ms: int | None) -> str:
    if first is None:
        return "no earnings yet"
    if joined_ms is None or first.at_ms < joined_ms:
        return "first earnings before its newest machines joined"
    return f"first earnings {(first.at_ms - joined_ms) / 1000:.0f} s after joining"


def first_of(pays: Pays | None, did: str, stamp: Mapping[int, int]) -> First | None:
    """The first pay of a key; stamp: entry -> when it was taken in, of the one that is asked for."""
    pay = None if pays is None else pays.first_pay((wallet(did),))
    if pay is None or pay.first_entry not in stamp:
        return None
    return First(pay.micro, pay.first_entry, stamp[pay.first_entry])
