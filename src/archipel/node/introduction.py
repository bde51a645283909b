"""How a node presents itself to a lab: what it is, what it was measured to be; and how it leaves."""

import asyncio
import importlib.util
import logging
from typing import Any

from archipel import __version__
from archipel.node.asks import energy_of
from archipel.node.client import LabClient
from archipel.node.delivery import LAST_WORDS_S, Deliveries
from archipel.node.exchange import LabRefused, LabUnreachable, believed
from archipel.node.known_labs import check_lab
from archipel.node.membership import brought
from archipel.node.power import Meter, cards_watts
from archipel.node.settings import NodeSettings
from archipel.node.standing import Standing
from archipel.node.successors import Successors
from archipel.node.totals import Totals
from archipel.node.worker import Worker
from archipel.records.backends import FOREIGN, engine_words
from archipel.records.documents import NodeView
from archipel.records.engine_classes import class_of
from archipel.records.episodes import playable
from archipel.records.statements import Capabilities, NodeLeft
from archipel.work.room import free_bytes

logger = logging.getLogger("archipel.node")

NOT_FOUND = 404
NOT_ALONE = (
    "another machine works with this node's key, {key}, and each takes the other's work back; if this "
    "home is a copy, remove its node.key and start it again"
)


async def introduce(settings: NodeSettings, worker: Worker, standing: Standing) -> Capabilities:
    """Measure the child, unless its work is not paid by speed, and put it into words; what it cannot do is news.

    Raises:
        WorkerLost, WorkRefused: the benchmark failed.
    """
    measured = {} if settings.trusted else await _benchmarked(settings, worker, standing)
    exact = tuple(measured.get("exact", ()))
    named = class_of(settings.engine, settings.dtype, settings.device)
    standing.measured(exact, measured.get("not_exact", ()))
    return Capabilities(
        kinds=settings.kinds,
        engine=engine_words(settings.engine, settings.engines),
        device=settings.device,
        software=f"archipel {__version__}",
        speed_milli=int(measured.get("tokens_per_s", 0) * 1000 * settings.duty),
        batch_invariant=bool(measured.get("batch_invariant", False)),
        protections=worker.protections,
        exact=exact or None,
        memory_mb=None if settings.trusted else _memory_mb(settings),
        plays=None if settings.trusted else playable(),
        backends=None if settings.trusted else _libraries(),
        classes=None if settings.trusted or named is None else (named,),
    )


async def _benchmarked(
    settings: NodeSettings, worker: Worker, standing: Standing
) -> dict[str, Any]:
    """What the child measured, and what the machine drew meanwhile."""
    with Meter() as meter:
        measured = (await worker.benchmark()).values
    standing.watts = meter.watts
    if settings.device.startswith("cuda"):
        standing.watts = await asyncio.to_thread(cards_watts, settings.devices)
    standing.energy_micro = energy_of(
        settings.asking, standing.watts, settings.threads * settings.devices
    )
    standing.speed_milli = int(measured.get("tokens_per_s", 0) * 1000)
    return measured


def _libraries() -> tuple[str, ...] | None:
    """Those that are installed for this Python, which the child runs, too; not loaded to find out."""
    return tuple(name for name in FOREIGN if importlib.util.find_spec(name)) or None


def _memory_mb(settings: NodeSettings) -> int | None:
    """What its work may take now; None for accelerators, whose memory the agent does not see."""
    if settings.device != "cpu":
        return None
    known = (free_bytes(), settings.memory_bound())
    return min((each for each in known if each is not None), default=0) // 10**6 or None


async def greet(
    successors: Successors, settings: NodeSettings, totals: Totals, standing: Standing
) -> dict[str, Any]:
    """Learn who the lab is, whether it is the one that this machine knows, and what was earned there.

    Returns what this node's `node.joined` says besides what it can.

    Raises:
        LabUnreachable, LabRefused: from the lab.
        NodeFailed: the lab has another key than before, or what this node brings is not what it should be.
        OSError: what is known of labs cannot be read or written.
    """
    lab = successors.client
    facts = await lab.greet()
    if settings.check_lab is not None:
        settings.check_lab(lab.lab)
    for url in lab.addresses.every:  # one lab: whoever answers at another address has the same key
        named = None if successors.has_turned else settings.lab_key
        await asyncio.to_thread(check_lab, settings.kept_in, url, lab.lab, named)
    await asyncio.to_thread(believed, lambda: successors.met(facts))
    if totals.before_micro is None:
        totals.before_micro = await _earned_before(lab)
    return await brought(lab, settings, standing)


async def _earned_before(lab: LabClient) -> int | None:
    """Micro-credits of this key, as the lab says; None if it says nothing of use."""
    try:
        return (await lab.read(NodeView, f"/nodes/{lab.identity.did}")).credit_micro
    except LabRefused as error:
        return 0 if error.status == NOT_FOUND else None


async def is_alone(lab: LabClient, deliveries: Deliveries) -> bool:
    """Whether no other machine has this node's key: two take each other's leases back, without end."""
    if not deliveries.disowned:
        return True
    deliveries.disowned = False
    try:
        return not await lab.hears_another()
    except (LabRefused, LabUnreachable):
        return True


async def take_leave(lab: LabClient) -> None:
    """In silence, if the lab does not listen in time."""
    try:
        async with asyncio.timeout(LAST_WORDS_S):
            await lab.submit(NodeLeft)
    except (LabRefused, LabUnreachable, TimeoutError) as error:
        logger.warning("left in silence", extra={"reason": str(error)})
