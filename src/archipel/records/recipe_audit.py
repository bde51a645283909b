"""What a recipe says of audits: how often accepted answers are recomputed by others, and for what pay. Part of `recipe`."""

from typing import Annotated

from pydantic import Field

from archipel.records.recipe_form import Section

MAX_DEPOSIT = 10**15
"""Micro-credits."""


class AuditSection(Section):
    """Audits of a run that is sampled by the exact contract, or by an engine that is named and calibrated; in others
    nobody could tell.
    """

    LATER = frozenset({"false_accusations", "fingerprints"})

    floor: Annotated[float, Field(ge=0.001, le=1.0)] = 0.15
    """Chance that an answer of the best known node is audited. A newcomer's first are all; the more of a node's
    answers were found right, the nearer it comes to this, and the less of its stake is free for what it was paid
    unseen, the further above."""
    part: Annotated[float, Field(ge=0.001, le=1.0)] = 0.25
    """Share of an answer's rollouts that an audit recomputes, drawn after the answer; of each group at least one."""
    stake: Annotated[int, Field(ge=0, le=1000)] = 20
    """A node's pay is kept as its stake until that is the price of so many answers; a hard verdict takes it. Fewer mean
    more audits: with none every answer is audited."""
    deposit: Annotated[int, Field(ge=0, le=MAX_DEPOSIT)] = 0
    """Micro-credits that a node must vouch with before it is given work; 0: newcomers begin with nothing."""
    pay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    """What an audit is paid, as a share of the price of what is audited."""
    window_s: Annotated[float, Field(ge=0.1, le=86_400.0)] = 3600.0
    """So long a verdict may be contested by whom it falls on, and so long an audit waits for auditors."""
    false_accusations: Annotated[float, Field(ge=1e-6, le=0.5)] = 0.01
    """Where answers are measured, not recomputed to the bit: chance, at most, that an honest node is accused in a year of
    100,000 audits, if each exceeds a limit no more often than was calibrated."""
    fingerprints: bool = False
    """Answers that are measured bring fingerprints of the activations that they were sampled from, 8 bytes a token more,
    and audits measure those, too (docs/how-to/audit-in-floating-point.md)."""


class ReplaySection(Section):
    """Audits of contributions in pretraining: somebody else makes all inner steps of a drawn one again. A run without this
    section has none. They need `inner.state = "fresh"` and `exchange.error_feedback = 0`, so that everything a contribution
    follows from is public.
    """

    floor: Annotated[float, Field(ge=0.001, le=1.0)] = 0.15
    """Chance that a contribution of the best known node is made again. A newcomer's first are all; the more of a node's
    contributions were found right, the nearer it comes to this."""
    distance: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """What a contribution may lie away from what an auditor makes of it, as a share of that one's length, where the two
    machines do not give the same bits; `archipel bench replays` measures it. 0: only machines of the same class look, and
    every bit has to be right."""
    stake: Annotated[int, Field(ge=0, le=1000)] = 20
    """A node's pay is kept as its stake until that is the price of so many contributions; a hard verdict takes it."""
    deposit: Annotated[int, Field(ge=0, le=MAX_DEPOSIT)] = 0
    """Micro-credits that a node must vouch with before it is given work; 0: newcomers begin with nothing."""
    pay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """What an audit is paid, as a share of the price of the contribution: it makes as many steps."""
    window_s: Annotated[float, Field(ge=0.1, le=86_400.0)] = 3600.0
    """So long a verdict may be contested by whom it falls on, and so long an audit waits for auditors."""
