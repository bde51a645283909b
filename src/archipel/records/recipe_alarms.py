"""What a recipe says of its alarms: from where on a measurement is a sign that the run goes wrong. Part of `recipe`.

What each alarm looks at, and what it says then, stands in `curves.concerns`.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from archipel.records.recipe_form import Section

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class AlarmSection(Section):
    """From where on a measurement is an alarm, and whether an alarm pauses the run."""

    LATER: ClassVar[frozenset[str]] = frozenset({"answers_left"})

    pause: bool = False
    """The trusted role pauses the run when an alarm begins that means no good weights any more (collapse, worse,
    apart, fallen, mismatch, unusable); `archipel run resume` lets it go on, and the same alarm pauses it no more."""
    window: Annotated[int, Field(ge=2, le=64)] = 5
    """So many newest versions have to agree."""
    commonest_answer: Share = 0.75
    """collapse: share of one answer from which it is compared with the majority baseline; 1 compares never."""
    constant_margin: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    """collapse: the policy has to earn so much more than that answer would, given to every task."""
    answers_left: Share = 0.2
    """few-answers: share of the first versions' different answers, below which the policy is compared with the
    majority baseline as for collapse."""
    commonest_completion: Share = 0.8
    """collapse: share of a batch that is one and the same completion, to the token."""
    entropy_nats: Annotated[float, Field(ge=0.0)] = 0.1
    """collapse: entropy per token below this and below `entropy_left` of the first versions'."""
    entropy_left: Share = 0.2
    """collapse: see `entropy_nats`."""
    good_reward: Share = 0.9
    """A policy that earns this may be sure of itself: no alarm of entropy, alike completions or dull groups."""
    zero_advantage: Share = 0.9
    """few-teach: share of groups whose rewards are all equal."""
    finished: Share = 0.25
    """cut-off: share of completions that end by themselves, below which most work is thrown away."""
    mismatch_nats: Annotated[float, Field(gt=0.0)] = 0.02
    """mismatch: KL between what samples and what learns, per token, if it is also four times the first versions'."""
    effective_sample: Share = 0.3
    """mismatch: effective share of the tokens, below which it is one however it began."""
    held_back: Share = 0.5
    """held-back: share of tokens that the loss clips, caps or masks."""
    unusable: Share = 0.05
    """unusable: share of tokens without a log-probability that can stand in a ratio."""
    reward_lost: Share = 0.5
    """fallen: share of its best mean reward that the run has lost again."""
