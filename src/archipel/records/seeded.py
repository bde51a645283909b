"""The lab draws the noise of a run from its ledger, so that not even the run's operator chose it."""

from typing import Literal

from archipel.records.fields import Count, Digest, RunName
from archipel.records.statement import Statement


class RunSeeded(Statement):
    """Said twice for a run whose noise is drawn, each time by the root of the ledger's first `size` entries.

    The first is a signature of the lab's after the opening; the root of the second holds both, and gives the seed
    (`records.seeds.drawn_noise`). So who opened the run could not know it.
    """

    kind: Literal["run.seeded"] = "run.seeded"
    run: RunName
    size: Count
    root: Digest
    """Merkle tree hash (RFC 6962) of these entries."""
