"""The kinds of work, as the lab sees them: one row each, most urgent first (see `records.kinds`)."""

from archipel.lab.kinds import (
    adapt,
    audit,
    evaluate,
    inner_step,
    merge,
    rollout,
    sample,
    update,
)
from archipel.lab.rules import Rules
from archipel.records import kinds

RULES: tuple[Rules, ...] = (
    update.RULES,
    merge.RULES,
    evaluate.RULES,
    audit.RULES,
    adapt.RULES,
    sample.RULES,
    rollout.RULES,
    inner_step.RULES,
)

RULES_OF = {rules.name: rules for rules in RULES}
if RULES_OF.keys() != kinds.WORDS_OF.keys():
    raise TypeError(
        f"rules for {sorted(RULES_OF)}, words for {sorted(kinds.WORDS_OF)}: a kind needs both"
    )
