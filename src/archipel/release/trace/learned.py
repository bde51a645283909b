"""Which groups made which versions, who sampled them and how many tokens that were."""

from collections.abc import Iterator
from dataclasses import dataclass

from archipel.records.documents import AcceptedWork
from archipel.records.kinds.rollout import RolloutAnswer
from archipel.release.trace.told import Told, Untraceable


@dataclass(frozen=True, slots=True)
class Learned:
    """A result that some version was made from."""

    work: str
    index: int
    """Its entry in the ledger."""
    author: str
    """The node that answered."""
    groups: tuple[tuple[int, int], ...]
    """(version that it made, group), ascending."""
    tokens: int
    """Sampled in these groups."""
    accepted: AcceptedWork


def learned_of(told: Told) -> Iterator[Learned]:
    """Every result that a version up to the released one was made from, in the order of the ledger.

    Raises:
        Untraceable: a result of which a part only was learned from is not in the bundle, so its tokens cannot be counted.
    """
    story, heard = told.heard.story, told.heard
    made = {
        group: version for version in range(1, len(story.updates)) for group in story.batch(version)
    }
    works = sorted({story.group_in[group] for group in made}, key=lambda w: heard.answered[w].index)
    for work in works:
        accepted, place = story.results[work], heard.answered[work]
        groups = getattr(accepted.spec, "groups", ())
        mine = tuple(sorted((made[group], group) for group in groups if group in made))
        tokens = _tokens(told, accepted, {group for _, group in mine})
        yield Learned(work, place.index, place.author, mine, tokens, accepted)


def _tokens(told: Told, accepted: AcceptedWork, groups: set[int]) -> int:
    answer = accepted.answer
    if isinstance(answer, RolloutAnswer) and groups == set(getattr(accepted.spec, "groups", ())):
        return answer.num_tokens
    told.tell(f"result of {accepted.work}")
    found = told.rollouts(accepted)
    if found is None:
        raise Untraceable(
            f"{accepted.work} was learned from in part, and its result is not in this bundle, so how many of its tokens "
            "were cannot be counted"
        )
    return sum(each.num_sampled for group in groups for each in found[group])
