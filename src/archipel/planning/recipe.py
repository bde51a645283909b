"""From a plan to a recipe: how many versions a budget buys of the run that a base recipe describes.

The base keeps its words, comments and every other setting; three lines change and a note says why.
Law: text in, text out; whether the result is a recipe is for `records.recipe` to say.
"""

import re
import tomllib
from dataclasses import dataclass

from archipel.planning.mistakes import CannotPlan, Impossible

MAX_VERSIONS = 1_000_000


@dataclass(frozen=True)
class Sizes:
    """What a version of a recipe consumes."""

    name: str
    groups_per_update: int
    group_size: int
    max_new_tokens: int

    @property
    def rollouts_per_version(self) -> int:
        """B groups of G rollouts."""
        return self.groups_per_update * self.group_size


def sizes_of(base: str) -> Sizes:
    """What one version of this recipe consumes.

    Raises:
        CannotPlan: not a recipe that says so.
    """
    try:
        table = tomllib.loads(base)
        run, sampling = table["run"], table["sampling"]
        counts = (run["groups_per_update"], run["group_size"], sampling["max_new_tokens"])
        return Sizes(str(run["name"]), *(int(count) for count in counts))
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise CannotPlan(
            f"--base: expected a recipe with run.name, run.groups_per_update, run.group_size and "
            f"sampling.max_new_tokens ({type(error).__name__}: {error})"
        ) from None


def versions_for(rollouts: float, sizes: Sizes) -> int:
    """Updates that so many rollouts feed.

    Raises:
        Impossible: not one, or more than a run can have.
    """
    versions = int(rollouts // sizes.rollouts_per_version)
    if not 1 <= versions <= MAX_VERSIONS:
        raise Impossible(
            f"--budget buys {rollouts:,.0f} rollouts, {versions:,} versions of "
            f"{sizes.rollouts_per_version} each; expected 1 to {MAX_VERSIONS:,}: "
            f"{'give more' if versions < 1 else 'make batches larger or give less'}"
        )
    return versions


def recipe_text(base: str, sizes: Sizes, versions: int, notes: list[str]) -> str:
    """The base with these sizes and so many versions, and the plan's figures above it."""
    lines = {
        "name": f'"{sizes.name}"',
        "versions": str(versions),
        "groups_per_update": str(sizes.groups_per_update),
        "group_size": str(sizes.group_size),
        "max_new_tokens": str(sizes.max_new_tokens),
    }
    text = base
    for key, value in lines.items():
        text = re.sub(rf"(?m)^({key}\s*=\s*)(\"[^\"]*\"|\S+)", rf"\g<1>{value}", text, count=1)
    return "".join(f"# {note}\n" for note in notes) + "\n" + text
