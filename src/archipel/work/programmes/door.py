"""A door's work: no version is made, so there is none to examine."""

from archipel.work.kind import Context, WorkFailed
from archipel.work.programme import Examiner


def examiner(context: Context) -> Examiner:
    """None.

    Raises:
        WorkFailed: always; adapters belong to tenants, who examine them themselves.
    """
    raise WorkFailed(f"{context.run} is a door's run and makes no versions to examine")
