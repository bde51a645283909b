"""Credits for the demo's run, paid in and set aside as the lab's operator would."""

import asyncio

from archipel.bench.site import Site
from archipel.node.client import LabClient
from archipel.records.money import CreditsSettled, RunFunded


def fund(site: Site, run: str, micro: int) -> None:
    """Pay in so much, and set it aside for a run.

    Raises:
        LabUnreachable, LabRefused: from the lab.
    """
    asyncio.run(_funded(site, run, micro))


async def _funded(site: Site, run: str, micro: int) -> None:
    operator = site.operator()
    async with LabClient(site.url, operator) as lab:
        await lab.greet()
        paid = {"account": operator.did, "direction": "in", "micro": micro}
        await lab.submit(CreditsSettled, **paid, reference=f"run {run}")
        await lab.submit(RunFunded, run=run, micro=micro)
