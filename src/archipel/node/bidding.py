"""Bids for a node, round by round, in the runs whose work is traded: asked, sealed and revealed without anybody's decision.

A task beside the agent's own work. Law: what it asks follows from what the node measured (`asks`); a bid is kept before
it is sealed (`envelopes`); its failures cost at most a round.
"""

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass

from archipel.node.asks import (
    Means,
    Pace,
    ask_of,
    ask_words,
    hour_at,
    hour_words,
    in_credits,
    means_of,
    offer_of,
    scaled,
)
from archipel.node.client import LabClient
from archipel.node.envelopes import Drawer, Place, Sealed
from archipel.node.exchange import LabRefused, LabUnreachable, believed
from archipel.node.histories import all_runs
from archipel.node.sealed import opening_of
from archipel.node.settings import NodeSettings
from archipel.node.small_files import Unreadable
from archipel.node.standing import Standing
from archipel.node.totals import Totals
from archipel.records.bids import Bid
from archipel.records.documents import Opening
from archipel.records.fields import MAX_SEQ
from archipel.records.market_documents import MarketView, RoundView
from archipel.records.recipe_market import MarketTerms
from archipel.records.rounds import BidCommitted, BidRevealed

logger = logging.getLogger("archipel.node")

OVER = ("complete", "stopped")
FIRST_LOOK_S, AGAIN_S, LOOK_S, MIN_LOOK_S = 0.5, 2.0, 30.0, 0.2
"""Until the lab is joined; after a failure; where nothing is due; at least."""
NOTICE_S = 0.5
"""At most, until work of a run that was not met is noticed."""
MAX_RUNS = 64
"""Of which it looks after the markets."""
KNOWN = ("bid-committed-twice", "bid-revealed-twice")
"""What the lab says when it knows the bid already: a receipt was lost."""
WEIGHTS = ".safetensors"
VALID_PERIODS = 2
"""A bid is good for so many rounds after its own: nothing of it is left that could be old."""


@dataclass(frozen=True, slots=True)
class Traded:
    """A run with a market."""

    name: str
    terms: MarketTerms
    weights_bytes: int


class Bidding:
    """Of one agent that is paid."""

    def __init__(
        self, client: LabClient, standing: Standing, totals: Totals, settings: NodeSettings
    ) -> None:
        self._client, self._standing, self._totals = client, standing, totals
        self._settings, self._drawer = settings, Drawer(settings.home)
        self._lab = ""
        self._runs: dict[str, Traded | None] = {}
        """Those that are open; None: without a market."""
        self._met, self._next_runs_s = set[str](), 0.0
        """Runs that it worked for when it asked last which there are; when to ask again."""
        self._asks: dict[str, int] = {}
        """Run -> what was asked last."""
        self._heard: dict[str, int] = {}
        """Run -> number of the newest clearing that was told."""
        self._done: set[Place] = set()
        """Rounds in which nothing is left to seal: it is sealed, or the lab takes none."""

    async def go_on(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            wait_s = FIRST_LOOK_S
            if self._standing.lab and not self._standing.stopping:
                try:
                    wait_s = await self.look()
                except (LabUnreachable, LabRefused, Unreadable, OSError) as error:
                    logger.warning("no look at markets", extra={"reason": str(error)})
                    wait_s = AGAIN_S
            await self._rest(wait_s)

    async def _rest(self, wait_s: float) -> None:
        """So long, or until work comes of a run that it has not met: that one's first round may be open, and not for
        LOOK_S.
        """
        until_s = time.monotonic() + wait_s
        while (left_s := until_s - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, NOTICE_S))
            if not self._standing.runs.keys() <= self._met:
                return

    async def look(self) -> float:
        """Do what is due in every market; returns seconds until something may be due again.

        Raises:
            LabUnreachable, LabRefused: from the lab. Unreadable, OSError: of the bids that are kept.
        """
        if self._standing.lab != self._lab:
            self._lab, self._next_runs_s = self._standing.lab, 0.0
            self._runs.clear()
        waits = [await self._attend(run) for run in await self._traded()]
        return max(min(waits, default=LOOK_S), MIN_LOOK_S)

    async def _traded(self) -> list[Traded]:
        """Open runs with a market that this lab has, the newest of many; asked for now and then, and when work of
        another came.
        """
        if time.monotonic() < self._next_runs_s and self._standing.runs.keys() <= self._met:
            return self._known()
        self._met = set(self._standing.runs)
        names = [run.run for run in await all_runs(self._client) if run.phase not in OVER]
        self._runs = {
            name: self._runs[name] if name in self._runs else await self._terms_of(name)
            for name in names
        }
        self._next_runs_s = time.monotonic() + LOOK_S
        return self._known()

    def _known(self) -> list[Traded]:
        return [run for run in self._runs.values() if run is not None][-MAX_RUNS:]

    async def _terms_of(self, name: str) -> Traded | None:
        founding = self._client.founding
        sealed = (await self._client.read(Opening, f"/runs/{name}/opening")).opening
        opened = believed(lambda: opening_of(sealed, founding, name))
        terms = opened.pace.market
        weights = sum(file.blob.size for file in opened.model if file.name.endswith(WEIGHTS))
        return None if terms is None else Traded(name, terms, weights)

    async def _attend(self, run: Traded) -> float:
        """What is due in one market, and seconds until something may be due again."""
        own = {"node": self._client.identity.did, "rows": 0}
        view = await self._client.read(MarketView, f"/runs/{run.name}/market", params=own)
        self._tell(run, view)
        now_ms, open_ = self._client.clock.now_us() // 1000, view.round
        if open_ is None:
            return min(
                max(_until_next(run.terms, view, now_ms), run.terms.commit_ms / 4000), LOOK_S
            )
        place = Place(self._lab, run.name, open_.number)
        if now_ms < open_.commit_until_ms:
            await self._seal(run, place, open_, now_ms)
            spread_ms = secrets.randbelow((open_.reveal_until_ms - open_.commit_until_ms) // 4 + 1)
            return (open_.commit_until_ms + spread_ms - now_ms) / 1000
        if now_ms < open_.reveal_until_ms:
            await self._reveal(place)
        return (open_.reveal_until_ms - now_ms) / 1000 + MIN_LOOK_S

    async def _seal(self, run: Traded, place: Place, open_: RoundView, now_ms: int) -> None:
        if place in self._done or self._standing.why_paused:
            return
        sealed = await asyncio.to_thread(self._drawer.find, place)
        if sealed is None:
            bid = self._bid(run, open_, now_ms)
            if bid is None:
                return
            sealed = Sealed.fresh(bid)
            await asyncio.to_thread(self._drawer.keep, place, sealed)
        if not await self._say(BidCommitted, place, {"seal": sealed.seal}):
            await asyncio.to_thread(self._drawer.drop, place)
        self._done.add(place)

    async def _reveal(self, place: Place) -> None:
        sealed = await asyncio.to_thread(self._drawer.find, place)
        if sealed is not None:
            await self._say(BidRevealed, place, {"bid": sealed.bid, "nonce": sealed.nonce})
            await asyncio.to_thread(self._drawer.drop, place)

    async def _say(
        self, kind: type[BidCommitted | BidRevealed], place: Place, said: dict[str, object]
    ) -> bool:
        """Once; what the lab refuses is told to whoever watches, and not tried again in this round. Whether it stands.

        Raises:
            LabUnreachable: it may be tried again. LabRefused: only joining helps.
        """
        try:
            await self._client.submit(kind, run=place.run, number=place.number, **said)
        except LabRefused as error:
            if error.calls_for_joining:
                raise
            if error.problem in KNOWN:
                return True
            words = f"no bid in round {place.number} of {place.run}: {error}"
            self._standing.news.append(words)
            logger.warning("bid refused", extra={"run": place.run, "reason": str(error)})
            return False
        return True

    def _means(self, run: Traded) -> Means | None:
        settings, standing = self._settings, self._standing
        pace = self._totals.paces.get(run.name, Pace())
        rates = (pace.rate_milli, scaled(standing.speed_milli, run.weights_bytes))
        threads = settings.threads * settings.devices
        return means_of(settings.asking, standing.watts, threads, rates)

    def _bid(self, run: Traded, open_: RoundView, now_ms: int) -> Bid | None:
        """What it asks now; None while nobody knows how fast this machine is."""
        asking, means = self._settings.asking, self._means(run)
        if means is None:
            return None
        micro = ask_of(asking, means.machine)
        if run.name not in self._asks:
            self._standing.news.append(f"run {run.name}: {ask_words(asking, means, micro)}")
        self._asks[run.name] = micro
        lasting_ms = VALID_PERIODS * run.terms.period_ms
        return Bid(
            bidder=self._client.identity.did,
            market=open_.market,
            price_micro=micro,
            lots=offer_of(asking, means.machine, run.terms.lot_milli, self._settings.duty),
            region=asking.region,
            valid_from_ms=now_ms,
            valid_until_ms=min(open_.reveal_until_ms + lasting_ms, MAX_SEQ),
        )

    def _tell(self, run: Traded, view: MarketView) -> None:
        """What the newest clearing brings, for the node's line."""
        means, last, own = self._means(run), view.last, view.own
        if last is None or not view.in_force or own is None or means is None:
            return
        price = own.price_micro or last.price_micro
        waits = f"; on standby in {run.name}: {own.standby}" if own.standby else ""
        hour = hour_words(hour_at(means.machine, price, self._settings.duty))
        self._standing.hour = hour + waits
        if self._heard.get(run.name) == last.number:
            return
        self._heard[run.name] = last.number
        logger.info("cleared", extra={"run": run.name, "round": last.number, "micro": price})
        if run.name in self._asks and not own.is_bought:
            self._standing.news.append(
                f"run {run.name}: nothing is bought of this node for now; the price is "
                f"{in_credits(last.price_micro)} credits per million tokens"
            )


def _until_next(terms: MarketTerms, view: MarketView, now_ms: int) -> float:
    """Seconds until the next round is due, where none is open; 0: it may come at any time."""
    if view.last is None:
        return 0.0
    opened_ms = view.last.at_ms - terms.commit_ms - terms.reveal_ms
    return max(opened_ms + terms.period_ms - now_ms, 0) / 1000
