"""Which page an address is. Pure.

Law: an address is one of the table's or none; what of it is a stranger's name is looked up and never followed.
"""

from collections.abc import Callable
from urllib.parse import unquote

from archipel.dashboard.pages.asked import MAX_NAME, NotThere, Sight
from archipel.dashboard.pages.audits import audits
from archipel.dashboard.pages.labs import labs
from archipel.dashboard.pages.ledger import entry, ledger
from archipel.dashboard.pages.market import market
from archipel.dashboard.pages.mirrors import mirrors
from archipel.dashboard.pages.models import model, models
from archipel.dashboard.pages.nodes import node, nodes
from archipel.dashboard.pages.operators import operator, operators
from archipel.dashboard.pages.overview import overview
from archipel.dashboard.pages.pledges import pledges
from archipel.dashboard.pages.run import run
from archipel.dashboard.pages.runs import runs
from archipel.dashboard.pages.value import Page

ALONE: dict[str, Callable[[Sight], Page]] = {
    "": overview,
    "runs": runs,
    "nodes": nodes,
    "operators": operators,
    "audits": audits,
    "ledger": ledger,
    "models": models,
    "labs": labs,
    "mirrors": mirrors,
    "pledges": pledges,
}
OF: dict[str, Callable[[Sight, str], Page]] = {
    "runs": run,
    "nodes": node,
    "operators": operator,
    "market": market,
    "ledger": entry,
    "models": model,
}
"""Pages of one thing, by the first part of their address."""
ASKED: dict[tuple[str, bool], tuple[str, ...]] = {
    ("runs", False): ("start",),
    ("nodes", False): ("by", "start"),
    ("operators", False): ("start",),
    ("operators", True): ("by", "start"),
    ("audits", False): ("run", "start"),
    ("ledger", False): ("from",),
    ("models", False): ("start",),
    ("labs", False): ("start",),
    ("pledges", False): ("run", "start"),
}
"""(first part, whether it is a page of one thing) -> what it may be asked; of anything else nothing depends."""


def asked_of(where: str) -> tuple[str, ...]:
    """What the page of an address after `/pages/` may be asked."""
    first, slash, _ = where.partition("/")
    return ASKED.get((first, bool(slash)), ())


def page_at(sight: Sight, where: str) -> Page:
    """The page of an address after `/pages/`, as it came, without what is asked of it.

    Raises:
        NotThere: no page lies there.
        NotAsked: it was asked something that it does not answer.
    """
    first, slash, rest = where.partition("/")
    if not slash and first in ALONE:
        return ALONE[first](sight)
    name = unquote(rest, errors="replace")
    if first not in OF or not name or "/" in rest or len(name) > MAX_NAME:
        raise NotThere("no page lies here; /pages/ leads to all of them")
    return OF[first](sight, name)
