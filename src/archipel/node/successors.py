"""A node that finds its lab again at another address and under another key, without its operator.

While its lab is alive the node keeps whom it may follow (`succession.Known`), in its home; when the lab does not answer, and
now and then while it does, it asks them who they are. Law: what a successor says is believed by `succession.follows` alone;
the turn is one step, in which nothing is awaited; work at hand goes on and is answered to whoever the lab is then.
"""

import asyncio
import logging
import random
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from archipel.node.addresses import check_successor
from archipel.node.client import LabClient, LabReader
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.known_labs import check_lab
from archipel.node.lab_part import FOLDER
from archipel.node.open_runs import OpenRuns
from archipel.node.patience import NodeFailed
from archipel.node.peers import resolved
from archipel.node.sealed import Founding, NotBelieved
from archipel.node.settings import NodeSettings
from archipel.node.small_files import Unreadable, read_json, write_json
from archipel.node.standing import NO_ANSWER, Standing
from archipel.node.succession import PROBLEM, Known, continues, follows, known_by, with_charters
from archipel.records.documents import KeyFacts, LabFacts
from archipel.records.own_machine import is_own_machine

logger = logging.getLogger("archipel.node")

FILE = "successors.json"
AWAY_S = 10.0
"""Between two questions while the lab does not answer."""
CALM_S = 120.0
"""Between two while it does: a lab that refuses to let go is left, too."""
ASK_LIMIT_S = 20.0
"""For what one of them says of itself."""
JUDGE_EVERY_S = 600.0
"""Between two foldings of a whole ledger because of one address."""
MAX_ADDRESSES = 32
MAX_LABS = 1000
_KNOWN = TypeAdapter(Known)


class Successors:
    """Of the lab that one agent works for."""

    def __init__(self, client: LabClient, settings: NodeSettings, runs: OpenRuns) -> None:
        """runs: those that the agent works for."""
        self.client, self._runs = client, runs
        self._home, self._judge = settings.home, settings.judge
        self._kept_in = settings.kept_in
        self._is_trusted = settings.trusted
        self._judged_s: dict[str, float] = {}
        """Address -> when a whole ledger was folded because of it, by the monotonic clock."""
        self._place = str(client.addresses)
        """Where the operator said that the lab is: what is kept is kept by that."""
        self._task: asyncio.Task[None] | None = None
        self._known: Known | None = None
        self._standing = Standing()

    def begin(self, standing: Standing) -> None:
        """Look from now on; where a lab was followed before, go on there. Raises NodeFailed: what is kept is damaged."""
        self._standing = standing
        kept = self._kept().get(self._place)
        if kept is not None:
            self._known = _known_in(kept)
            turned = kept.get("turned")
            if isinstance(turned, str):
                self.client.turn_to(turned)
        self._task = asyncio.create_task(self._go_on())

    @property
    def has_turned(self) -> bool:
        """It is not the lab any more that the operator named: its key was believed and remembered at the turn."""
        return str(self.client.addresses) != self._place

    async def close(self) -> None:
        """No more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def met(self, facts: LabFacts) -> None:
        """What the lab says of itself: whom it names is kept, for when it says nothing any more.

        Raises NotBelieved: it is said by nobody who may. OSError: it cannot be kept.
        """
        founding = self.client.founding
        known = replace(known_by(facts, founding), chartered=self._chartered_before())
        self._keep(with_charters(known, self._runs.opened))

    async def look(self) -> bool:
        """Ask all of them once; whether the lab is another one now."""
        known = self._known
        if known is None:
            return False
        known = with_charters(known, self._runs.opened)
        for address in known.addresses[:MAX_ADDRESSES]:
            if address in self.client.addresses.every:
                continue
            try:
                async with asyncio.timeout(ASK_LIMIT_S), LabReader(address) as there:
                    await self._check_places(there)
                    facts = await there.read(LabFacts, "/lab")
                founding = await self._believed(address, facts, known)
                await self._turn(address, founding, facts)
            except NotBelieved as error:
                logger.info("not followed", extra={"reason": f"{address}: {error}"})
            except (LabRefused, LabUnreachable, TimeoutError, OSError, ValueError) as error:
                logger.info("no successor", extra={"reason": f"{address}: {error}"})
            else:
                return True
        return False

    async def _check_places(self, there: LabReader) -> None:
        """Raises NotDialled: a lab elsewhere sends us around on our own machine."""
        known = {urlsplit(each).hostname or "" for each in (self._place, self.client.url)}
        for each in there.addresses.every:
            seen = await resolved(urlsplit(each).hostname or "")
            check_successor(seen, is_lab_here=any(map(is_own_machine, known)))

    async def _believed(self, address: str, facts: LabFacts, known: Known) -> Founding:
        """Whose lab it is there. Raises NotBelieved: it does not continue the known one."""
        founding = continues(facts, known.founding)
        try:
            return follows(facts, known)
        except NotBelieved:
            since_s = time.monotonic() - self._judged_s.get(address, -JUDGE_EVERY_S)
            if self._judge is None or since_s < JUDGE_EVERY_S:
                raise
            self._judged_s[address] = time.monotonic()
        runs, former = tuple(self._runs.opened), known.founding.lab
        why = await asyncio.to_thread(self._judge, address, former, founding.lab, runs)
        if why is not None:
            raise NotBelieved(PROBLEM, why)
        return founding

    async def _go_on(self) -> None:
        calm_s = 0.0
        while True:
            await asyncio.sleep(AWAY_S * (0.5 + random.random()))  # noqa: S311  jitter, not secrecy
            calm_s += AWAY_S
            is_away = self._is_away()
            if not is_away and calm_s < CALM_S:
                continue
            calm_s = 0.0
            try:
                await self._refresh(is_away=is_away)
                await self.look()
            except Exception:  # whatever somebody there said, the work goes on
                logger.exception("successors not asked")

    def _is_away(self) -> bool:
        trouble = self._standing.trouble
        return trouble is not None and trouble.what == NO_ANSWER

    async def _refresh(self, *, is_away: bool) -> None:
        """Whom the lab names by now."""
        if is_away or not self.client.lab:
            return
        try:
            facts = await self.client.read(LabFacts, "/lab")
            if facts.lab == self.client.lab:
                await asyncio.to_thread(self.met, facts)
        except (LabRefused, LabUnreachable, NotBelieved, OSError) as error:
            logger.info("successors not refreshed", extra={"reason": str(error)})

    async def _turn(self, address: str, founding: Founding, facts: LabFacts) -> None:
        """From now on the lab is the one at this address.

        Raises:
            NodeFailed: another key is known there. LabRefused, LabUnreachable: it does not say what a key must know.
        """
        client, before_ns = self.client, self.client.clock.ticks()
        async with LabReader(address) as there:
            spoken = await there.read(KeyFacts, f"/keys/{client.identity.did}")
        await asyncio.to_thread(check_lab, self._kept_in, address, founding.lab, founding.lab)
        former = client.lab
        client.turn(address, founding, spoken, before_ns)
        self._standing.turned(former, founding.lab, address, is_trusted=self._is_trusted)
        logger.warning("turned", extra={"lab": founding.lab, "reason": address})
        chartered = self._chartered_before()
        self._known = Known(founding, chartered=chartered)
        self._keep(replace(known_by(facts, founding), chartered=chartered), address)

    def _chartered_before(self) -> Any:
        return () if self._known is None else self._known.chartered

    def _kept(self) -> dict[str, Any]:
        try:
            return read_json(self._home / FILE) or {}
        except (Unreadable, OSError) as error:
            raise NodeFailed(
                f"whom this node may follow cannot be read ({error}); to know nobody, delete {self._home / FILE}"
            ) from None

    def _keep(self, known: Known, turned: str | None = None) -> None:
        """Raises OSError, NodeFailed."""
        kept = self._kept()
        before = kept.get(self._place, {})
        now = _words(known) | {"turned": turned or before.get("turned")}
        self._known = known
        if now != before and (self._place in kept or len(kept) < MAX_LABS):
            write_json(self._home / FILE, kept | {self._place: now})


def followed_in(home: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """(address that the operator named, key of a lab that was there) -> (key, address) of the lab that is followed instead.

    home: of a node, which may serve several labs.

    Raises:
        Unreadable, OSError: what is kept cannot be read.
    """
    followed: dict[tuple[str, str], tuple[str, str]] = {}
    for path in (home / FILE, *sorted((home / FOLDER).glob(f"*/{FILE}"))):
        for place, kept in (read_json(path) or {}).items():
            if not isinstance(kept, dict) or not isinstance(address := kept.get("turned"), str):
                continue
            try:
                labs = [str(kept["lab"]), *(str(lab) for lab, _ in kept["earlier"])]
            except (KeyError, TypeError, ValueError) as error:
                raise Unreadable(f"{path} is of another form ({error!r:.200})") from None
            followed |= {(place, lab): (labs[0], address) for lab in labs}
    return followed


def _words(known: Known) -> dict[str, Any]:
    founding = known.founding
    return {
        "lab": founding.lab,
        "operators": sorted(founding.operators),
        "earlier": [[lab, sorted(operators)] for lab, operators in founding.earlier],
        "named": [each.model_dump() for each in known.named],
        "chartered": [each.model_dump() for each in known.chartered],
        "ask": list(known.ask),
    }


def _known_in(kept: dict[str, Any]) -> Known:
    try:
        earlier = tuple((lab, frozenset(operators)) for lab, operators in kept["earlier"])
        founding = Founding(kept["lab"], frozenset(kept["operators"]), earlier)
        words = {
            "founding": asdict(founding),
            "named": kept["named"],
            "chartered": kept["chartered"],
            "ask": kept["ask"],
        }
        return _KNOWN.validate_python(words)
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise NodeFailed(f"{FILE} is of another form ({error!r:.200}); delete it") from None
