"""The programmes, as the lab sees them: one row each (see `records.programmes`)."""

from archipel.lab.programmes import door_rules, pretrain_rules, rl_rules
from archipel.lab.rules import ProgrammeRules
from archipel.records import programmes

RULES: tuple[ProgrammeRules, ...] = (rl_rules.RULES, pretrain_rules.RULES, door_rules.RULES)

RULES_OF = {rules.name: rules for rules in RULES}
if RULES_OF.keys() != programmes.WORDS_OF.keys():
    raise TypeError(
        f"rules for {sorted(RULES_OF)}, words for {sorted(programmes.WORDS_OF)}: a programme needs both"
    )
