"""What a recipe says of audits: how often accepted answers are recomputed by others, and for what pay. Part of `recipe`."""

from typing import Annotated

from pydantic import Field

from archipel.records.recipe_form import Section


class AuditSection(Section):
    """Audits of a run that is sampled by the exact contract, or by an engine that is named and calibrated; in others
    nobody could tell.
    """

    LATER = frozenset({"false_accusations"})

    floor: Annotated[float, Field(ge=0.001, le=1.0)] = 0.02
    """Chance that an answer of the best known node is audited. A newcomer's first are all; the more of a node's
    answers were found right, the nearer it comes to this, and the more it was paid unseen, the further above."""
    pay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.25
    """What an audit is paid, as a share of the price of what is audited."""
    window_s: Annotated[float, Field(ge=0.1, le=86_400.0)] = 3600.0
    """So long a verdict may be contested by whom it falls on, and so long an audit waits for auditors."""
    false_accusations: Annotated[float, Field(ge=1e-6, le=0.5)] = 0.01
    """Where answers are measured, not recomputed to the bit: chance, at most, that an honest node is accused in a year of
    100,000 audits, if each exceeds a limit no more often than was calibrated."""
