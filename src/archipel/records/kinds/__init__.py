"""The kinds of work: one row each, in the order of urgency. What a kind is stands in its own file.

A further kind is a file here, one in `lab.kinds` (its rules) and one in `work.kinds` (its run), and a row
in each of the three tables.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

from archipel.records.kinds import (
    adapt,
    audit,
    evaluate,
    inner_step,
    merge,
    rollout,
    sample,
    update,
)
from archipel.records.words import Words, WorkAnswer, WorkSpec, one_of

WORDS: tuple[Words[Any, Any], ...] = (
    update.WORDS,
    merge.WORDS,
    evaluate.WORDS,
    audit.WORDS,
    adapt.WORDS,
    sample.WORDS,
    rollout.WORDS,
    inner_step.WORDS,
)

WORDS_OF = {words.name: words for words in WORDS}
if len(WORDS_OF) != len(WORDS):
    raise TypeError("two kinds of work have the same name")

TRUSTED = frozenset(words.name for words in WORDS if words.trusted)
"""Kinds that only keys named in a run may do."""
STRANGERS = tuple(words.name for words in WORDS if not words.trusted)
"""Kinds that anybody may do."""
TRUSTED_ROLE = tuple(words.name for words in WORDS if words.trusted or words.appeals)
"""Kinds that the trusted role does: its own, and those in which it has the last word."""

if TYPE_CHECKING:
    Spec: TypeAlias = WorkSpec
    Answer: TypeAlias = WorkAnswer
else:
    Spec = one_of(tuple(words.spec for words in WORDS), by="kind")
    Answer = one_of(tuple(words.answer for words in WORDS), by="kind")
