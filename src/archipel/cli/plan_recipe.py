"""`archipel plan recipe`: a budget becomes a recipe that `archipel run open` accepts."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, mending, show
from archipel.cli.grouped import together
from archipel.cli.names import members_of, recipe_names
from archipel.cli.questions import RENTS, SETTING, asked, read_text, write

if TYPE_CHECKING:
    from archipel.planning.asking import Ask
    from archipel.planning.recipe import Pace, Sizes

PARTS = ("generation", "learning")
ANSWERS = ("rl.rollouts", "rl.hours", "rl.generating_share", "train.cost", "train.days")


@click.command("recipe")
@click.option(
    "--base",
    default="gsm8k",
    show_default=True,
    help="Recipe file or shipped name.",
    shell_complete=recipe_names,
)
@click.option("--budget", default="200 USD", show_default=True, help="Money for the RL run.")
@click.option("--params", default="0.6B", show_default=True, help="Parameters of the model.")
@click.option("--rollout-tokens", default="", help="Mean tokens; default: half the recipe's most.")
@click.option(
    "--accelerator",
    default="h100",
    show_default=True,
    help="Kind of accelerator.",
    shell_complete=members_of("accelerator"),
)
@click.option("--count", default="", help="How many accelerators.")
@click.option("--price", default="", help="Rent, e.g. '2 USD/h'; default: the market's.")
@click.option("--mfu", default="", help="Model FLOP utilisation; default: published runs.")
@click.option("--groups", type=click.IntRange(1, 65536), help="Groups of one update.")
@click.option("--group-size", type=click.IntRange(2, 1024), help="Rollouts of one prompt.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Longest rollout.")
@click.option("--name", default="", help="Name of the run; default: the base's with -planned.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write; default: print.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan's data and the recipe.")
@together(*SETTING, *RENTS)
def command(**given: Any) -> None:
    """Write a recipe whose number of versions is what a budget buys.

    The base recipe keeps its environment, algorithm and batch; the plan of the RL stage says how many
    rollouts the money samples and learns from, and so how many versions the run has; deadlines of leases
    and updates are such that the named accelerators keep them.

    \b
    Examples:
      archipel plan recipe --budget "10k USD" --params 8B --groups 64 --max-new-tokens 4096
      archipel plan recipe --base gsm8k --budget "20 USD" --params 0.5B --accelerator t4
    """
    from archipel.planning.answering import for_json
    from archipel.planning.mistakes import CannotPlan
    from archipel.planning.questions.bounds import MONEY, bounded
    from archipel.planning.recipe import recipe_text, sizes_of, versions_for
    from archipel.records.recipe import parse_recipe
    from archipel.records.recipe_form import InvalidRecipe

    with mending(CannotPlan):
        base = _base(given["base"])
        before = sizes_of(base)
        sizes = _sizes(given, before)
        stage = _stage(given, sizes)
        money = bounded(stage.in_dollars().budget, MONEY, "--budget")
        data = for_json(stage.data())
        rollouts = data["quantities"]["rl.rollouts"]["value"]
        versions = versions_for(math.inf if rollouts is None else float(rollouts), sizes, money)
        pace, paced = _pace(base, given, sizes, data)
        notes = [*_notes(given, sizes, data, versions), *paced, *_room_note(sizes, before)]
        text = recipe_text(base, sizes, versions, notes, pace)
    try:
        parse_recipe(text)
    except InvalidRecipe as error:
        raise Mendable(f"the recipe would not be accepted: {error}") from None
    if given["out"]:
        write(given["out"], text.encode())
    if given["as_json"] or not given["out"]:
        show({"versions": versions, "recipe": text, "plan": data}, given["as_json"], lambda: text)


def _sizes(given: dict[str, Any], base: "Sizes") -> "Sizes":
    """The base's sizes, with those that were given in their place."""
    from archipel.planning.recipe import check_name

    wanted = {
        "name": check_name(given["name"] or f"{base.name}-planned"),
        "groups_per_update": given["groups"],
        "group_size": given["group_size"],
        "max_new_tokens": given["max_new_tokens"],
    }
    return replace(base, **{key: value for key, value in wanted.items() if value}).with_room(base)


def _base(name: str) -> str:
    """The text of a recipe file, or of a shipped recipe."""
    from archipel.cli.recipes import shipped_recipes
    from archipel.planning.mistakes import nearest

    if Path(name).is_file():
        return read_text(Path(name))
    shipped = shipped_recipes()
    if name not in shipped:
        raise nearest(name, shipped, "recipe (--base)")
    return shipped[name]


def _stage(given: dict[str, Any], sizes: "Sizes") -> "Ask":
    """The question of the RL stage that this money pays for."""
    from archipel.planning.questions.bounds import LENGTH, bounded
    from archipel.planning.recipe import check_mean
    from archipel.planning.requests import REQUESTS, options_of

    defaults = {each.name: each.default for each in options_of(REQUESTS["train"])}
    wanted = {key: value for key, value in given.items() if key in defaults and value}
    if given["rollout_tokens"]:
        check_mean(bounded(given["rollout_tokens"], LENGTH, "--rollout-tokens"), sizes)
    tokens = given["rollout_tokens"] or str(max(1, sizes.max_new_tokens // 2))
    request = defaults | wanted | {"stage": "rl", "rollout_tokens": tokens}
    setting = {
        key: given[key]
        for key in ("seed", "samples", "as_of", "region", "spot", "table", "overrides")
    }
    return asked("train", request | setting)


def _pace(
    base: str, given: dict[str, Any], sizes: "Sizes", data: dict[str, Any]
) -> "tuple[Pace, list[str]]":
    """Deadlines that one of the named accelerators keeps, alone as a node or as the learner, and why."""
    from archipel.planning.recipe import pace_for

    value = {name: row["value"] for name, row in data["quantities"].items()}
    rollout_s = {part: 3600 * value[f"rl.{part}_hours"] / value["rl.rollouts"] for part in PARTS}
    longest = sizes.max_new_tokens / value["rl.rollout_tokens"]
    group_s = rollout_s["generation"] * sizes.group_size * longest
    update_s = rollout_s["learning"] * sizes.rollouts_per_version
    version_s = sum(rollout_s.values()) * sizes.rollouts_per_version / value["train.accelerators"]
    pace = pace_for(base, group_s, update_s)
    kind = given["accelerator"]
    return pace, [
        f"Pace: one {kind} samples a group of {sizes.group_size} of the longest rollouts in {_seconds(group_s)} and makes "
        f"an update in {_seconds(update_s)}; {value['train.accelerators']:,.0f} of them make a version in about "
        f"{_seconds(version_s)}. [lease] leaves time for that; measured speeds take over once there are some.",
    ]


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 10 else f"{value:.2g} s"


def _room_note(sizes: "Sizes", before: "Sizes") -> list[str]:
    """What was changed so that the longest rollout fits."""
    if sizes.max_positions == before.max_positions:
        return []
    return [
        f"model.max_position_embeddings is {sizes.max_positions:,} instead of {before.max_positions:,}:"
        f" the base's room for prompts and rollouts of {sizes.max_new_tokens:,} tokens. Weights of your"
        " own must hold as much.",
    ]


def _notes(given: dict[str, Any], sizes: "Sizes", data: dict[str, Any], versions: int) -> list[str]:
    from archipel.planning.wording import range_text

    found = [
        f"  {row['about']}: {range_text(row)}"
        for row in (data["quantities"][name] for name in ANSWERS if name in data["quantities"])
    ]
    return [
        f"Planned: {given['budget']} of RL for {given['params']} parameters on {given['accelerator']},"
        f" from the recipe {given['base']}.",
        f"{versions:,} {'version' if versions == 1 else 'versions'} of {sizes.rollouts_per_version} rollouts each.",
        *found,
        "Not in the plan: verification, idle nodes, and the price of failing; start with a tenth.",
    ]
