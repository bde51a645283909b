"""How a node presents itself to a lab: what it is, and what it was measured to be."""

from archipel import __version__
from archipel.node.settings import NodeSettings
from archipel.node.worker import Worker
from archipel.records.statements import Capabilities


async def introduce(settings: NodeSettings, worker: Worker) -> Capabilities:
    """Measure the child, unless its work is not paid by speed, and put it into words.

    Raises:
        WorkerLost, WorkRefused: the benchmark failed.
    """
    measured = {} if settings.trusted else (await worker.benchmark()).values
    return Capabilities(
        kinds=settings.kinds,
        engine=settings.engine,
        device=settings.device,
        software=f"archipel {__version__}",
        speed_milli=int(measured.get("tokens_per_s", 0) * 1000 * settings.duty),
        batch_invariant=bool(measured.get("batch_invariant", False)),
        protections=worker.protections,
    )
