"""Which data, environments, operators, machines and trusted keys shaped the weights of a bundle, and in which shares.

Shares are of what was learned from: tokens sampled, groups, weight in the gradient. Law: every line names the entries
that say it; what nothing says is None, and said to be unknown.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from archipel.lab.providers import account_of
from archipel.plurals import counted
from archipel.release import places
from archipel.release.trace.learned import Learned, learned_of
from archipel.release.trace.told import Told

Kind = Literal["data", "environment", "operator", "machine", "trusted key"]
KINDS: Final[tuple[Kind, ...]] = ("data", "environment", "operator", "machine", "trusted key")
Words = Callable[[str, Sequence[Learned]], str]
Weights = Mapping[int, float]
"""Group -> its share of the gradient."""


@dataclass(frozen=True, slots=True)
class Line:
    """One that shaped the weights."""

    kind: Kind
    name: str
    did: str
    """What it did, in words."""
    groups: int | None
    """Learned from; None: this is not counted in groups."""
    tokens: int | None
    weight: float | None
    """0 to 1; None: unknown, or not counted so."""
    entries: tuple[int, ...]
    """Of the ledger, which say it; ascending."""

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "kind": self.kind,
            "name": self.name,
            "did": self.did,
            "groups": self.groups,
            "tokens": self.tokens,
            "weight": self.weight,
            "entries": list(self.entries),
        }


@dataclass(frozen=True, slots=True)
class Shares:
    """All of them."""

    groups: int
    tokens: int
    results: int
    lines: tuple[Line, ...]
    why_no_weights: str
    """Empty: they are known."""

    def of(self, kind: Kind) -> tuple[Line, ...]:
        """The largest first."""
        return tuple(each for each in self.lines if each.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "groups": self.groups,
            "tokens": self.tokens,
            "results": self.results,
            "why_no_weights": self.why_no_weights or None,
            "lines": [each.to_dict() for each in self.lines],
        }


def shares_of(told: Told, weights: Weights | None, why_no_weights: str = "") -> Shares:
    """Of the released version. weights: None: unknown, for the reason that is given.

    Raises:
        Untraceable: as `learned_of`; the bundle lacks its recipe.
    """
    learned = tuple(learned_of(told))
    groups = sum(len(each.groups) for each in learned)
    lines = (
        *_data(told, learned, weights),
        *_environment(told, learned, weights),
        *_summed("operator", learned, weights, lambda each: account_of(told.state, each.author), _ran),
        *_summed("machine", learned, weights, lambda each: each.author, _software(told)),
        *_trusted(told),
    )  # fmt: skip
    tokens = sum(each.tokens for each in learned)
    return Shares(
        groups, tokens, len(learned), lines, "" if weights is not None else why_no_weights
    )


def _data(told: Told, learned: Sequence[Learned], weights: Weights | None) -> Iterator[Line]:
    recipe, heard, opening = told.recipe, told.heard, _opening(told)
    if recipe.supervised is not None:
        about = (
            f"{recipe.supervised.steps} steps of {recipe.supervised.batch_size} before version 0"
        )
        name = f"{recipe.environment.name} examples"
        yield Line(
            "data", name, f"the recipe has a supervised stage: {about}", None, None, None, opening
        )
    batches = [
        (heard.published[n].index, blob.blob)
        for n, update in enumerate(heard.story.updates)
        for blob in update.answer.prompts
    ]
    here = sum(places.blob_place(blob.digest) in told.files for _, blob in batches)
    said = f"{len(batches)} batches of prompts, {here} of them in the bundle"
    entries = tuple(sorted({index for index, _ in batches}))
    num = sum(len(each.groups) for each in learned)
    yield Line("data", f"{recipe.environment.name} tasks", said, num, None, None, entries)
    yield _line(
        "data", "rollouts", f"{len(learned)} results, sampled for this run", learned, weights
    )


def _environment(told: Told, learned: Sequence[Learned], weights: Weights | None) -> Iterator[Line]:
    section = told.recipe.environment
    settings = ", ".join(f"{name}={value}" for name, value in sorted(section.parameters.items()))
    secret = f"secret {section.secret}" if section.secret else ""
    said = "; ".join(part for part in ("set tasks and rewards", settings, secret) if part)
    whole = _line("environment", section.name, said, learned, weights)
    yield Line(
        "environment", whole.name, said, whole.groups, whole.tokens, whole.weight, _opening(told)
    )


def _summed(
    kind: Kind,
    learned: Sequence[Learned],
    weights: Weights | None,
    whose: Callable[[Learned], str],
    words: Words,
) -> Iterator[Line]:
    """One line for each of whom `whose` says that the results are; `words` says what it did."""
    found: dict[str, list[Learned]] = defaultdict(list)
    for each in learned:
        found[whose(each)].append(each)
    lines = [_line(kind, name, words(name, mine), mine, weights) for name, mine in found.items()]
    yield from sorted(lines, key=lambda line: (-(line.tokens or 0), line.name))


def _ran(name: str, mine: Sequence[Learned]) -> str:
    nodes = {each.author for each in mine}
    if nodes == {name}:
        return "sampled, by its own key"
    return f"sampled, on {counted(len(nodes), 'machine')}"


def _software(told: Told) -> Words:
    return lambda name, mine: f"sampled by {told.heard.software.get(name, 'unknown software')}"


def _trusted(told: Told) -> Iterator[Line]:
    """Keys that made versions: what they did has no share in what was sampled."""
    heard = told.heard
    made: dict[str, list[int]] = defaultdict(list)
    for number, update in enumerate(heard.story.updates):
        made[update.author].append(number)
    for author, numbers in sorted(made.items()):
        said = f"published {len(numbers)} of {len(heard.story.updates)} versions"
        entries = tuple(sorted(heard.published[number].index for number in numbers))
        yield Line("trusted key", author, said, None, None, None, entries)


def _line(
    kind: Kind, name: str, said: str, learned: Sequence[Learned], weights: Weights | None
) -> Line:
    weight = None
    if weights is not None:
        weight = sum(weights.get(group, 0.0) for each in learned for _, group in each.groups)
    return Line(
        kind=kind,
        name=name,
        did=said,
        groups=sum(len(each.groups) for each in learned),
        tokens=sum(each.tokens for each in learned),
        weight=weight,
        entries=tuple(sorted(each.index for each in learned)),
    )


def _opening(told: Told) -> tuple[int, ...]:
    opened = told.heard.opened
    return () if opened is None else (opened.index,)
