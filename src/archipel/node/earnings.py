"""What a node did for each lab, by day, kept over restarts: `archipel node status` reads it offline.

These are the node's own counts, and what the lab last said the balance is; the ledger decides. Law: a
damaged or unwritable file costs history, never work.
"""

import asyncio
import logging
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from archipel.node.small_files import Unreadable, read_json, write_json
from archipel.node.totals import Totals

logger = logging.getLogger("archipel.node")

FOLDER = "labs"
SAVE_EVERY_S = 10.0
"""A node that is killed forgets at most so much of its history."""
MAX_DAYS = 400
"""Older days are added up in one entry."""
EARLIER = "earlier"
COUNTS = ("credit_micro", "tokens", "groups", "busy_ms")


@dataclass
class Account:
    """One lab's, as this machine counted."""

    lab: str
    node: str = ""
    url: str = ""
    balance_micro: int | None = None
    """What the lab said, and what was earned since."""
    balance_at_s: int = 0
    days: dict[str, dict[str, int]] = field(default_factory=dict)
    """Date (UTC), or `earlier` -> outcomes of leases and `COUNTS`."""

    def total(self) -> dict[str, int]:
        """All days together."""
        added: dict[str, int] = {}
        for day in self.days.values():
            _add(added, day)
        return added


class Earnings:
    """The account of one agent at the lab it joined."""

    def __init__(self, home: Path, node: str, url: str) -> None:
        self._home, self._node, self._url = home, node, url
        self._account: Account | None = None
        self._saved: dict[str, int] = {}
        self._saved_at_s = 0.0

    def joined(self, lab: str, totals: Totals) -> None:
        """From now on what is earned is of this lab."""
        self.save(totals)
        try:
            account = read_account(path_of(self._home, lab)) or Account(lab)
        except (Unreadable, OSError) as error:
            logger.warning("earnings unreadable", extra={"reason": str(error)})
            account = Account(lab)
        account.node, account.url = self._node, self._url
        self._account, self._saved_at_s = account, time.monotonic()
        self._write(totals)

    async def save_if_due(self, totals: Totals) -> None:
        """Beside the event loop, when the last saving was long ago."""
        is_late = time.monotonic() - self._saved_at_s > SAVE_EVERY_S
        if self._account is not None and is_late:
            await asyncio.to_thread(self.save, totals)

    def save(self, totals: Totals) -> None:
        """Add what came since the last time to today."""
        account, counted = self._account, counts_of(totals)
        self._saved_at_s = time.monotonic()
        news = {name: n - self._saved.get(name, 0) for name, n in counted.items()}
        if account is None or not any(news.values()):
            return
        self._saved = counted
        today = time.strftime("%Y-%m-%d", time.gmtime())
        _add(account.days.setdefault(today, {}), news)
        _fold_old(account.days)
        self._write(totals)

    def _write(self, totals: Totals) -> None:
        account = self._account
        if account is None:
            return
        if totals.before_micro is not None:
            account.balance_micro = totals.before_micro + totals.credit_micro
            account.balance_at_s = int(time.time())
        try:
            write_json(path_of(self._home, account.lab), asdict(account))
        except OSError as error:
            logger.warning("earnings not saved", extra={"reason": str(error)})


def counts_of(totals: Totals) -> dict[str, int]:
    """What is kept of an agent's totals."""
    counted = {name: getattr(totals, name) for name in COUNTS[:3]}
    return {**counted, "busy_ms": int(totals.busy_s * 1000), **totals.works}


def path_of(home: Path, lab: str) -> Path:
    """A lab's file; the end of its key names it."""
    return home / FOLDER / f"{lab.rpartition(':')[2]}.json"


def accounts(home: Path) -> list[Account]:
    """All labs that this node worked for, the newest first.

    Raises:
        Unreadable, OSError: one of the files cannot be read.
    """
    files = sorted((home / FOLDER).glob("*.json")) if (home / FOLDER).is_dir() else []
    found = [account for path in files if (account := read_account(path)) is not None]
    return sorted(found, key=lambda each: max(each.days, default=""), reverse=True)


def read_account(path: Path) -> Account | None:
    """None: there is none. Raises Unreadable, OSError."""
    read = read_json(path)
    if read is None:
        return None
    try:
        account = Account(**read)
        for day in account.days.values():
            if any(type(n) is not int for n in day.values()):
                raise TypeError("a count that is none")
    except (TypeError, AttributeError) as error:
        raise Unreadable(f"{path} is damaged: {error}") from None
    return account


def as_document(account: Account) -> dict[str, Any]:
    """For machines."""
    return {**asdict(account), "counted": account.total()}


def _add(to: dict[str, int], more: dict[str, int]) -> None:
    for name, number in more.items():
        to[name] = to.get(name, 0) + number


def _fold_old(days: dict[str, dict[str, int]]) -> None:
    dated = sorted(day for day in days if day != EARLIER)
    for day in dated[:-MAX_DAYS]:
        _add(days.setdefault(EARLIER, {}), days.pop(day))
