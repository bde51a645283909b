"""Who of those that wait is looked at, when there is something to hand out. Pure.

While a run takes no more rollouts, thousands of its nodes wait in line, and audits are for the few who are called to one.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

from archipel.lab.company import NOBODY, Crowds
from archipel.lab.decide import Opportunity

MANY = 256
"""Among at most so many that wait, everybody is looked at, so that who has no room for more work steps aside."""


def trusted_for(found: Sequence[Opportunity]) -> Iterable[str]:
    """Keys that runs name for the trusted part of what there is, each once."""
    trusted = (
        each.run.opened.trusted
        for each in found
        if each.rules.words.trusted or each.rules.words.appeals
    )
    return dict.fromkeys(chain.from_iterable(trusted))


def strangers(found: Sequence[Opportunity]) -> list[Opportunity]:
    """What anybody may be given."""
    return [each for each in found if not each.rules.words.trusted]


def called_to(found: Sequence[Opportunity], company: Crowds, now_ms: int) -> frozenset[str] | None:
    """All strangers who may be given any of it; None: whoever can do it."""
    named = list[frozenset[str]]()
    for each in strangers(found):
        only = each.rules.called(each.run, company.get(each.ability, NOBODY), now_ms)
        if only is None:
            return None
        named.append(only)
    return frozenset().union(*named)
