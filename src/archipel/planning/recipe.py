"""From a plan to a recipe: how many versions a budget buys of the run that a base recipe describes.

The base keeps its words, comments and every other setting; a few lines change and a note says why. A model
that starts from random weights is given room for the prompts of the base and the longest rollout.
Law: text in, text out; whether the result is a recipe is for `records.recipe` to say.
"""

import math
import re
import tomllib
from dataclasses import dataclass, replace
from typing import Any

from archipel.planning.mistakes import CannotPlan, Impossible

MAX_VERSIONS = 1_000_000
DEFAULT_POSITIONS = 256
"""What a recipe has that does not say."""
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""What a recipe accepts as the name of a run."""


@dataclass(frozen=True)
class Sizes:
    """What a version of a recipe consumes."""

    name: str
    groups_per_update: int
    group_size: int
    max_new_tokens: int
    max_positions: int = DEFAULT_POSITIONS
    """Tokens of prompt and rollout together that a model from random weights can hold."""

    @property
    def rollouts_per_version(self) -> int:
        """B groups of G rollouts."""
        return self.groups_per_update * self.group_size

    def with_room(self, base: "Sizes") -> "Sizes":
        """The same with as much room for prompts as the base leaves beside its own longest rollout."""
        room = max(0, base.max_positions - base.max_new_tokens)
        return replace(self, max_positions=max(self.max_positions, room + self.max_new_tokens))


def sizes_of(base: str) -> Sizes:
    """What one version of this recipe consumes.

    Raises:
        CannotPlan: not a recipe that says so.
    """
    try:
        table = tomllib.loads(base)
        run, sampling = table["run"], table["sampling"]
        counts = [(run, key) for key in ("groups_per_update", "group_size")]
        counts.append((sampling, "max_new_tokens"))
        held = {"max_position_embeddings": DEFAULT_POSITIONS} | table.get("model", {})
        counts.append((held, "max_position_embeddings"))
        found = Sizes(str(run["name"]), *(_whole(part, key) for part, key in counts))
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise CannotPlan(
            f"--base: expected a recipe with run.name, run.groups_per_update, run.group_size and "
            f"sampling.max_new_tokens ({type(error).__name__}: {error})"
        ) from None
    if min(found.rollouts_per_version, found.group_size, found.max_new_tokens) < 1:
        raise CannotPlan(
            "--base: run.groups_per_update, run.group_size and sampling.max_new_tokens must each be 1 "
            "or more"
        )
    return found


def _whole(section: dict[str, Any], key: str) -> int:
    """An integer as TOML has them, as the recipe's own reader wants it. Raises TypeError."""
    value = section[key]
    if type(value) is not int:
        raise TypeError(f"{key}: got {value!r:.60}, expected an integer")
    return value


def check_name(name: str) -> str:
    """The name, if a run may have it.

    Raises:
        CannotPlan: it may not.
    """
    if not NAME.fullmatch(name):
        raise CannotPlan(
            f"--name: got {name!r}, expected at most 63 small letters, digits and hyphens, beginning "
            "with a letter or digit, such as gsm8k-planned"
        )
    return name


def check_mean(tokens: float, sizes: Sizes) -> None:
    """Refuse a mean rollout longer than the longest.

    Raises:
        Impossible: it is.
    """
    if tokens > sizes.max_new_tokens:
        raise Impossible(
            f"--rollout-tokens: got {tokens:g}, more than the longest rollout of "
            f"{sizes.max_new_tokens:,} tokens; give less, or raise --max-new-tokens"
        )


def versions_for(rollouts: float, sizes: Sizes, money: float) -> int:
    """Updates that so many rollouts feed; `money` in USD is what they cost.

    Raises:
        Impossible: not one, or more than a run can have; says how much money would do.
    """
    each = sizes.rollouts_per_version
    if not math.isfinite(rollouts) or rollouts < 0:
        raise Impossible(
            f"--budget buys {rollouts} rollouts: look at --price and the constants set"
        )
    versions = int(rollouts // each)
    if 1 <= versions <= MAX_VERSIONS:
        return versions
    edge = (1 if versions < 1 else MAX_VERSIONS) * each
    enough = f"{money * edge / rollouts:,.2g} USD".replace("e+0", "e") if rollouts else "more"
    advice = (
        f"give more, at least about {enough}"
        if versions < 1
        else f"give at most about {enough}, or make batches larger (--groups, --group-size)"
    )
    raise Impossible(
        f"--budget buys {rollouts:,.0f} rollouts, {versions:,} versions of {each:,} each; expected 1 "
        f"to {MAX_VERSIONS:,}: {advice}"
    )


def recipe_text(base: str, sizes: Sizes, versions: int, notes: list[str]) -> str:
    """The base with these sizes and so many versions, and the plan's figures above it.

    Raises:
        CannotPlan: a base whose lines cannot be changed in place.
    """
    wanted: dict[tuple[str, str], str | int] = {
        ("run", "name"): check_name(sizes.name),
        ("run", "versions"): versions,
        ("run", "groups_per_update"): sizes.groups_per_update,
        ("run", "group_size"): sizes.group_size,
        ("sampling", "max_new_tokens"): sizes.max_new_tokens,
    }
    if sizes.max_positions != sizes_of(base).max_positions:
        wanted["model", "max_position_embeddings"] = sizes.max_positions
    text = base
    for (section, key), value in wanted.items():
        text = _set(text, section, key, f'"{value}"' if isinstance(value, str) else str(value))
    _check_set(text, wanted)
    plain = (re.sub(r"[\x00-\x1f\x7f]", " ", note) for note in notes)
    return "".join(f"# {note}\n" for note in plain) + "\n" + text


def _set(text: str, section: str, key: str, value: str) -> str:
    """One line of one section, changed in place or added below its head."""
    head = re.search(rf"(?m)^[ \t]*\[[ \t]*{section}[ \t]*\][^\n]*\n?", text)
    if head is None:
        return f"{text.rstrip()}\n\n[{section}]\n{key} = {value}\n"
    after = re.search(r"(?m)^[ \t]*\[", text[head.end() :])
    end = head.end() + after.start() if after else len(text)
    body = text[head.end() : end]
    line = re.compile(rf"(?m)^([ \t]*{key}[ \t]*=[ \t]*)(\"[^\"\n]*\"|'[^'\n]*'|[^\s#]+)")
    if line.search(body):
        body = line.sub(lambda found: found[1] + value, body, count=1)
    else:
        body = f"{key} = {value}\n{body}"
    return text[: head.end()] + body + text[end:]


def _check_set(text: str, wanted: dict[tuple[str, str], str | int]) -> None:
    """What was written must be what a reader finds."""
    try:
        table: dict[str, Any] = tomllib.loads(text)
        kept = all(table[section][key] == value for (section, key), value in wanted.items())
    except (ValueError, KeyError, TypeError, RecursionError):
        kept = False
    if not kept:
        raise CannotPlan(
            "--base: its sizes could not be changed in place; write run, sampling and model as plain "
            "[sections] with one key a line"
        )
