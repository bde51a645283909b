"""What a run's making falls into: a supervised stage, ranges of versions, evaluations. Pure.

Law: every published version belongs to exactly one stage, and every stage to one author.
"""

from dataclasses import dataclass

from archipel.release.facts import EvaluationFact, Facts, VersionFact


@dataclass(frozen=True, slots=True)
class Stage:
    """Versions made one after another by one trusted role: from an anchor to before the next."""

    name: str
    """Part of a file's name: `start`, `updates-1-20`."""
    versions: tuple[VersionFact, ...]
    """Of the run, by number; never none."""

    @property
    def author(self) -> str:
        """did:key."""
        return self.versions[0].author

    @property
    def inputs(self) -> tuple[str, ...]:
        """Works whose results went in, sorted, each once."""
        return tuple(sorted({work for each in self.versions for work in each.inputs}))


def stages_of(facts: Facts) -> tuple[Stage, ...]:
    """Version 0, then ranges that each end with a version that was published whole, or with their author's part."""
    found: list[Stage] = []
    going: list[VersionFact] = []
    for each in sorted(facts.versions, key=lambda version: version.number):
        if each.number == 0:
            found.append(Stage("start", (each,)))
            continue
        if going and going[-1].author != each.author:
            found.append(_range(going))
            going = []
        going.append(each)
        if each.anchor is not None:
            found.append(_range(going))
            going = []
    if going:
        found.append(_range(going))
    return tuple(found)


def _range(versions: list[VersionFact]) -> Stage:
    return Stage(f"updates-{versions[0].number}-{versions[-1].number}", tuple(versions))


def evaluations_of(facts: Facts) -> tuple[EvaluationFact, ...]:
    """By version, then by entry."""
    return tuple(sorted(facts.evaluations, key=lambda each: (each.version, each.index)))
