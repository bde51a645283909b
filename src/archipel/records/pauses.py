"""What is said of a run that is to stand still for a while, by an operator or a role that it trusts, and to go on; and of
work of it that is to be tried again.
"""

from typing import Literal, TypeAlias

from archipel.records.fields import Reason, RunName
from archipel.records.statement import Statement


class RunPaused(Statement):
    """No work of the run is handed out from now on; what is in nodes' hands may still be answered."""

    kind: Literal["run.paused"] = "run.paused"
    run: RunName
    reason: Reason


class RunResumed(Statement):
    """The run goes on where it was paused."""

    kind: Literal["run.resumed"] = "run.resumed"
    run: RunName


class RunRetried(Statement):
    """An operator, or a trusted role, says that work of a run which failed and rests may be tried again at once."""

    kind: Literal["run.retried"] = "run.retried"
    run: RunName


Pausing: TypeAlias = RunPaused | RunResumed
"""What may stand in a ledger of that."""
