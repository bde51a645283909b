"""A further host of a site: its ranks take part in what the first host's child is asked, and know no lab.

They end with the group: when a rank dies, when the first host's child is replaced, when the first host rests. Then
they are started again and wait for the next meeting. Law: what they read and write lies in the site's home, which all
hosts see at one path; nothing is answered from here.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from archipel import source_environment
from archipel.node.ranks import Ranks
from archipel.node.worker_start import program
from archipel.work.messages import Setup

SHORT_S, FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 1.0, 60.0
"""Ranks that end within `SHORT_S` have not met: each time they rest twice as long before the next try."""
END_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Lending:
    """What this host lends."""

    ranks: Ranks
    setup: Setup
    environment: Mapping[str, str]
    log: Path
    """Of its ranks."""


async def lend(lending: Lending, tell: Callable[[str], None]) -> None:
    """Keep this host's ranks running until cancelled, and then end them. tell: what happened, a line each time.

    Raises:
        OSError: they cannot be started at all.
    """
    clock, pause_s = asyncio.get_running_loop().time, FIRST_PAUSE_S
    while True:
        begun_s = clock()
        tell(
            f"host {lending.ranks.host} of {lending.ranks.hosts}: meeting at {lending.ranks.meeting}"
        )
        code = await _once(lending)
        is_short = clock() - begun_s < SHORT_S
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S) if is_short else FIRST_PAUSE_S
        tell(
            f"the ranks ended with code {code}, see {lending.log}; next meeting in {pause_s:.0f} s"
        )
        await asyncio.sleep(pause_s)


async def _once(lending: Lending) -> int:
    lending.log.parent.mkdir(parents=True, exist_ok=True)
    with lending.log.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *program(lending.ranks, lending.setup),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=sink,
            env={**source_environment(), **lending.environment},
            start_new_session=True,  # Ctrl-C in the terminal is for us alone
        )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            async with asyncio.timeout(END_LIMIT_S):
                await process.wait()
