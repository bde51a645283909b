"""From a plan to a recipe: how many versions a budget buys of the run that a base describes, and at which pace.

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
RL = "rl"
"""The programme of runs whose versions are updates from rollouts."""
NEAR_S, FAR_S = 30.0, 600.0
"""Deadlines of a lease and of an update where a recipe says none."""
SLACK, MOST_GROUPS = 4.0, 64
LONGEST_S = 86_400.0
"""No deadline of a recipe is longer."""
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


@dataclass(frozen=True)
class Pace:
    """How long a lease and an update may take."""

    min_deadline_s: float
    update_deadline_s: float
    max_groups: int


def pace_for(base: str, group_s: float, update_s: float) -> Pace:
    """Deadlines that machines keep which take so long for a group of longest rollouts and for an update, in seconds.

    A lease's first deadline leaves twice the time of one group, that of an update the recipe's slack; no lease may
    have more groups than fit into the longest one with that slack. What the base allows is never cut short.

    Raises:
        CannotPlan: a base whose lease is not told in numbers above zero.
        Impossible: machines that no lease waits for.
    """
    slack, least_s, update_least_s, groups = _lease(base)
    near = max(least_s, 2.0 * group_s)
    far = max(update_least_s, slack * update_s, slack * group_s)
    longest = max(group_s, update_s)
    if longest > LONGEST_S:
        what = "an update" if update_s > group_s else "a group"
        raise Impossible(
            f"{what} takes one of these machines {longest / 3600:,.0f} hours, and a lease may have {LONGEST_S / 3600:g}: "
            "give fewer --groups, a smaller --group-size or --max-new-tokens, or a faster --accelerator"
        )
    far = min(far, LONGEST_S)
    fitting = int(far // (slack * group_s)) if group_s > 0 else MOST_GROUPS
    most = min(int(groups), max(1, fitting))
    return Pace(float(math.ceil(near)), float(math.ceil(far)), most)


def _lease(base: str) -> tuple[float, float, float, float]:
    """Slack, first deadline, that of an update in seconds and most groups of a lease, as the base has them."""
    usual = {"slack": SLACK, "min_deadline_s": NEAR_S, "update_deadline_s": FAR_S}
    usual["max_groups"] = MOST_GROUPS
    table: Any = tomllib.loads(base).get("lease", {})
    if not isinstance(table, dict):
        raise CannotPlan(f"--base: lease: got {table!r:.60}, expected a section")
    found = [table.get(key, otherwise) for key, otherwise in usual.items()]
    for key, value in zip(usual, found, strict=True):
        least = 1.0 if key in ("slack", "max_groups") else 0.0
        if type(value) not in (int, float) or not least <= value <= LONGEST_S or not value:
            raise CannotPlan(
                f"--base: lease.{key}: got {value!r:.60}, expected a number from {least:g} to {LONGEST_S:g}, not 0"
            )
    slack, near, far, groups = map(float, found)
    return slack, near, far, groups


def _check_programme(table: dict[str, Any]) -> None:
    """Refuse a run that has no rollouts to buy.

    Raises:
        CannotPlan: it follows another programme.
    """
    programme = table["run"].get("programme", RL)
    if programme != RL:
        raise CannotPlan(
            f"--base: got a recipe of programme {programme!r}, expected one of reinforcement learning ({RL!r}), whose "
            "versions are bought as rollouts; how much a budget trains otherwise, archipel plan train says"
        )


def sizes_of(base: str) -> Sizes:
    """What one version of this recipe consumes.

    Raises:
        CannotPlan: not a recipe that says so, or one of another programme.
    """
    try:
        table = tomllib.loads(base)
        _check_programme(table)
        run, sampling = table["run"], table["sampling"]
        counts = [(run, key) for key in ("groups_per_update", "group_size")]
        counts.append((sampling, "max_new_tokens"))
        held = {"max_position_embeddings": DEFAULT_POSITIONS} | table.get("model", {})
        counts.append((held, "max_position_embeddings"))
        found = Sizes(str(run["name"]), *(_whole(part, key) for part, key in counts))
    except CannotPlan:
        raise
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
            f"sampling.max_new_tokens ({_missing(error)})"
        ) from None
    if min(found.rollouts_per_version, found.group_size, found.max_new_tokens) < 1:
        raise CannotPlan(
            "--base: run.groups_per_update, run.group_size and sampling.max_new_tokens must each be 1 "
            "or more"
        )
    return found


def _missing(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


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


def recipe_text(
    base: str, sizes: Sizes, versions: int, notes: list[str], pace: Pace | None = None
) -> str:
    """The base with these sizes and so many versions, at a pace, and the plan's figures above it.

    Raises:
        CannotPlan: a base whose lines cannot be changed in place.
    """
    wanted: dict[tuple[str, str], str | float] = {
        ("run", "name"): check_name(sizes.name),
        ("run", "versions"): versions,
        ("run", "groups_per_update"): sizes.groups_per_update,
        ("run", "group_size"): sizes.group_size,
        ("sampling", "max_new_tokens"): sizes.max_new_tokens,
    }
    if sizes.max_positions != sizes_of(base).max_positions:
        wanted["model", "max_position_embeddings"] = sizes.max_positions
    if pace is not None:
        wanted |= {("lease", key): value for key, value in vars(pace).items()}
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


def _check_set(text: str, wanted: dict[tuple[str, str], str | float]) -> None:
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
