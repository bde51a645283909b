"""Agents of one machine told to end while others of it go on: by when they have, whatever their labs do.

Law: a lab says for how long it lends work, and whether it takes an answer; it does not say for how long the parts of other
labs are kept waiting. Whoever has nothing but answers on their way has `DELIVERED_S` for them, everybody else as long as a lease
may take on this machine besides; then what is owed is given up, as at a second Ctrl-C.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping

from archipel.node.agent import Agent
from archipel.node.standing import Doing

logger = logging.getLogger("archipel.node")

DELIVERED_S = 600.0
"""For answers that are on their way, large ones over a slow line among them."""


async def ended(
    going: Mapping[str, tuple[Agent, asyncio.Task[None]]], longest_s: float, look_s: float
) -> AsyncIterator[str]:
    """Return when all of them have ended; names of those that had to be told twice, as they are.

    longest_s: of one lease, by the operator's rules. look_s: between two looks.
    """
    until = dict.fromkeys(going, time.monotonic() + longest_s + DELIVERED_S)
    hurried = set[str]()
    for agent, _ in going.values():
        agent.stop()
    while left := {name: each for name, each in going.items() if not each[1].done()}:
        await asyncio.wait([task for _, task in left.values()], timeout=look_s)
        now_s = time.monotonic()
        for name, (agent, task) in left.items():
            if agent.standing.doing is Doing.DELIVERING:
                until[name] = min(until[name], now_s + DELIVERED_S)
            if until[name] < now_s and not task.done() and name not in hurried:
                hurried.add(name)
                logger.warning("not done in time", extra={"lab": name})
                agent.stop()
                yield name
