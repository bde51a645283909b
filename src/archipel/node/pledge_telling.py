"""A running node tells a lab that it joined which pledges of compute concern it, once each.

Law: what a lab refuses is not said to it again; a pledge binds this machine whether or not a lab enters it.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from archipel.node.client import LabClient
from archipel.node.exchange import LabRefused
from archipel.node.pledged import NotPledged, Pledged, all_pledges, keep
from archipel.node.small_files import Unreadable
from archipel.records.compute import ComputePledged

logger = logging.getLogger("archipel.node")


def untold(pledges: Iterable[Pledged], lab: str) -> list[Pledged]:
    """Those that this lab has not heard of and is to enter: made to it, or to a purpose."""
    return [each for each in pledges if each.lab in (None, lab) and lab not in each.told]


async def tell(home: Path, client: LabClient, pledges: Iterable[Pledged]) -> None:
    """Say them to a lab that took this node in. Raises LabUnreachable: it is told another time."""
    for each in untold(pledges, client.lab):
        said = {"name": each.name, "purpose": each.purpose, "share": each.share}
        try:
            await client.submit(ComputePledged, **said, hours=each.hours, until_ms=each.until_ms)
        except LabRefused as error:
            if error.calls_for_joining:
                return
            logger.warning("pledge not entered", extra={"pledge": each.name, "reason": str(error)})
        await asyncio.to_thread(_mark, home, each.name, client.lab)


def _mark(home: Path, name: str, lab: str) -> None:
    try:
        for each in all_pledges(home):
            if each.name == name:
                keep(home, replace(each, told=(*each.told, lab)), time.time())
    except (Unreadable, NotPledged, OSError) as error:
        logger.warning("pledge not marked", extra={"pledge": name, "reason": str(error)})
