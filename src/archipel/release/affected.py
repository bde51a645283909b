"""What a withdrawn contribution, or a revoked key, affects downstream: versions, releases, and what was made from them.

Laws: what is named nowhere in the ledger affects nothing that it knows, and that is said; a version is affected if it
was made from the contribution, and so is every later one, each being made from the one before. It says what was made
from what, not how much of it is left in the weights.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from archipel.lab.providers import account_of
from archipel.lab.run_story import RunStory
from archipel.lab.state import LabState
from archipel.release.gathering import Ledger
from archipel.release.hearing import Hearing, TakenBack, rollouts
from archipel.release.index import Released

What = Literal["data", "party", "key", "revoked key"]


@dataclass(frozen=True, slots=True)
class Affected:
    """What one withdrawal affects in its run."""

    what: What
    name: str
    """Digest, or did:key."""
    author: str
    reason: str
    entry: int
    at_ms: int
    works: tuple[str, ...]
    """Accepted, by whom or from what was withdrawn."""
    first: int | None
    """First version that was made from it; None: none that this ledger knows."""
    last: int
    """Newest version of the run."""
    how: str
    """How it came into that version, in words."""


@dataclass(frozen=True, slots=True)
class Known:
    """A release that somebody has: `place`, its index, and the digest of that."""

    place: str
    digest: str
    index: Released


@dataclass(frozen=True, slots=True)
class Downstream:
    """A release that is affected, and why."""

    place: str
    title: str
    why: str


def affected(ledger: Ledger) -> list[Affected]:
    """What each withdrawal and each revoked key of the ledger affects in the run, in the order of the entries."""
    return [_affected(ledger, each) for each in ledger.hearing.taken_back]


def downstream(run: Hearing, lab: str, first: int, known: Iterable[Known]) -> list[Downstream]:
    """Which of the known releases hold, or were made from, version `first` of the run or a later one.

    What was made from a release that is affected is affected.
    """
    weights = {each.answer.policy for each in run.story.updates[first:]}
    digests: set[str] = set()
    found: dict[str, Downstream] = {}
    waiting, grew = list(known), True
    while grew:
        grew = False
        for each in [one for one in waiting if one.place not in found]:
            why = _why(each, (lab, run.name, first), weights, digests)
            if why is not None:
                found[each.place] = Downstream(each.place, each.index.title, why)
                weights.add(each.index.weights)
                digests.add(each.digest)
                grew = True
    return list(found.values())


def _why(
    known: Known, of: tuple[str, str, int], weights: set[str], digests: set[str]
) -> str | None:
    index, (lab, run, first) = known.index, of
    if (index.lab, index.run) == (lab, run) and index.version >= first:
        return f"it holds version {index.version} of {run}"
    for parent in index.parents:
        if parent.weights in weights or parent.release in digests:
            return f"it is {parent.relation} {parent.name!r}"
    return None


def _affected(ledger: Ledger, each: TakenBack) -> Affected:
    heard, state = ledger.hearing, ledger.state
    works, entered = (
        _by_data(heard, each.name) if each.what == "data" else _by_author(heard, state, each)
    )
    first = min(entered, default=None)
    return Affected(
        what=each.what,
        name=each.name,
        author=each.author,
        reason=each.reason,
        entry=each.entry,
        at_ms=each.at_ms,
        works=tuple(works),
        first=first,
        last=len(heard.story.updates) - 1,
        how="" if first is None else entered[first],
    )


def _by_author(
    heard: Hearing, state: LabState, each: TakenBack
) -> tuple[list[str], dict[int, str]]:
    """(works, version -> how they came into it) of a party or a key."""

    def is_its(author: str) -> bool:
        return author == each.name or (
            each.what == "party" and account_of(state, author) == each.name
        )

    works = [work for work, said in heard.answered.items() if is_its(said.author)]
    entered = dict(_results_in(heard.story, set(works)))
    for number, update in enumerate(heard.story.updates):
        if is_its(update.author):
            entered.setdefault(number, "it made the version")
    return works, entered


def _by_data(heard: Hearing, digest: str) -> tuple[list[str], dict[int, str]]:
    """The same of bytes under a digest."""
    story = heard.story
    works = [work for work, _, answer in rollouts(story) if answer.result.digest == digest]
    entered = dict(_results_in(story, set(works)))
    for number, update in enumerate(story.updates):
        answer = update.answer
        if digest in {each.blob.digest for each in answer.prompts}:
            entered.setdefault(
                number + 1, "prompts from it were handed out after the version before"
            )
        if digest in _digests((answer.manifest, answer.anchor, answer.delta, answer.memory)):
            entered.setdefault(number, "it is part of the version")
    opened = story.opened
    if opened is not None:
        given = {opened.recipe.digest, *(file.blob.digest for file in opened.model)}
        if digest in given:
            entered[0] = "the run was opened with it"
    newest = len(story.updates) - 1
    return works, {number: how for number, how in entered.items() if number <= newest}


def _results_in(story: RunStory, works: set[str]) -> Iterator[tuple[int, str]]:
    for number in range(1, len(story.updates)):
        try:
            used = [each.work for each in story.inputs(number) if each.work in works]
        except KeyError:
            continue
        if used:
            yield number, f"it was made from {', '.join(used[:5])}{', ...' if used[5:] else ''}"


def _digests(blobs: Iterable[Any]) -> set[str]:
    return {each.digest for each in blobs if each is not None}
