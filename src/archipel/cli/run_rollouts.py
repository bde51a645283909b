"""`archipel run rollouts`: what was sampled for a version, with log-probabilities, and rewards graded here."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from archipel.cli.doors import LAB, home_folder, mending, show
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.names import run_names
from archipel.plurals import counted

MAX_SHOWN_CHARACTERS = 300
"""Of one text on the screen; JSON has all of it."""


@click.command()
@click.argument("name", shell_complete=run_names)
@click.option("--version", type=click.IntRange(1), help="Version made from them [the newest].")
@click.option("--group", type=click.IntRange(0), help="Only this group.")
@click.option("--search", metavar="TEXT", help="Only rollouts whose prompt or answer holds TEXT.")
@click.option("--unfinished", is_flag=True, help="Only rollouts that were cut off.")
@click.option("--limit", default=40, show_default=True, type=click.IntRange(1), help="At most.")
@click.option(
    "--grade", "is_graded", is_flag=True, help="Grade them here: runs the recipe's grader."
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The verifier's secret; grades them here.",
)
@click.option("--home", type=click.Path(path_type=Path), help="Cache [~/.archipel/export].")
@LAB
@JSON
def rollouts(
    name: str,
    version: int | None,
    group: int | None,
    search: str | None,
    unfinished: bool,
    limit: int,
    is_graded: bool,
    secret_file: Path | None,
    home: Path | None,
    lab_url: str,
    as_json: bool,
) -> None:
    """Prompts, completions and log-probabilities that a version was made from; rewards where they are known.

    A lab knows only the mean reward of a batch. With --grade or --secret-file the recipe's environment
    grades each completion on this machine, and the two means are compared; do that with recipes that you know.

    \b
    Examples:
      archipel run rollouts secret-order --secret-file secret
      archipel run rollouts reasoning-gym --grade --version 12 --search "answer"
      archipel run rollouts secret-order --json --limit 1000
    """
    from archipel.cli.rollout_reading import NotKept
    from archipel.records.payload import BadPayload
    from archipel.records.recipe_form import InvalidRecipe
    from archipel.training.environments.apart import TaskProcessLost
    from archipel.training.grading import GraderUnavailable

    folder = home_folder("export", home)
    with mending(
        TaskProcessLost,
        NotKept,
        BadPayload,
        InvalidRecipe,
        GraderUnavailable,
        OSError,
        ValueError,
    ):
        batch = ask_lab(_batch(lab_url, name, version, folder))
        told = _told(batch, secret_file, is_graded)
    kept = [row for row in told["rollouts"] if _fits(row, group, search, unfinished)]
    told |= {"rollouts": kept[:limit], "found": len(kept)}
    show(told, as_json, lambda: "\n".join(_lines(told)))


async def _batch(lab_url: str, name: str, version: int | None, folder: Path) -> Any:
    from archipel.cli.rollout_reading import read_batch
    from archipel.node.client import LabReader

    async with LabReader(lab_url) as lab:
        return await read_batch(lab, name, version, folder)


def _told(batch: Any, secret_file: Path | None, is_graded: bool) -> dict[str, Any]:
    """Everything that there is to say of a batch, one row a rollout."""
    from archipel.model.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_directory(batch.model)
    rewards: list[Sequence[float]] | None = None
    if is_graded or secret_file is not None:
        from archipel.cli.rollout_rewards import grade, with_prompts
        from archipel.cli.secrets import given_secret

        batch = with_prompts(batch, tokenizer)
        rewards = grade(batch, tokenizer, given_secret(secret_file))
    from archipel.records.recipe import recipe_from_canonical
    from archipel.training.wording import text_of, wording_of_recipe

    wording = wording_of_recipe(recipe_from_canonical(batch.recipe), tokenizer)
    rows = []
    for place, group in enumerate(batch.groups):
        prompt = None if group.prompt is None else tokenizer.decode(group.prompt)
        for number, each in enumerate(group.rollouts):
            rows.append({
                "group": group.index,
                "rollout": number,
                "sampled_version": group.version,
                "work": group.work,
                "prompt": prompt,
                "completion": text_of(tokenizer, each, wording),
                "tokens": each.tokens,
                "logprobs_nats": each.logprobs,
                "finished": each.finished,
                "sampled": None if each.sampled is None else list(each.sampled),
                "reward": None if rewards is None else rewards[place][number],
            })  # fmt: skip
    flat = [reward for group in rewards or () for reward in group]
    return {
        "run": batch.run,
        "version": batch.version,
        "rewards": "not known here" if rewards is None else "graded here",
        "reward_mean_recorded": batch.recorded_reward,
        "reward_mean_here": sum(flat) / len(flat) if flat else None,
        "rollouts": rows,
    }


def _fits(row: dict[str, Any], group: int | None, search: str | None, unfinished: bool) -> bool:
    if group is not None and row["group"] != group:
        return False
    if unfinished and row["finished"]:
        return False
    text = f"{row['prompt'] or ''}\n{row['completion']}".casefold()
    return search is None or search.casefold() in text


def _lines(told: dict[str, Any]) -> Iterator[str]:
    shown, found = len(told["rollouts"]), told["found"]
    more = f", the first {shown} of them" if shown < found else ""
    yield f"version {told['version']} of {told['run']}: {counted(found, 'rollout')}{more}"
    yield _rewards_line(told)
    group = None
    for row in told["rollouts"]:
        if row["group"] != group:
            group = row["group"]
            prompt = (
                "(gone from the lab; --grade makes it anew)"
                if row["prompt"] is None
                else visible(row["prompt"])
            )
            yield f"\ngroup {group}, sampled from version {row['sampled_version']}: {prompt}"
        reward = "    -" if row["reward"] is None else f"{row['reward']:5.3f}"
        sampled = len(row["tokens"]) if row["sampled"] is None else sum(row["sampled"])
        nats = sum(row["logprobs_nats"]) / sampled
        cut = "" if row["finished"] else "  (cut off)"
        yield f"  {reward}  {nats:7.3f} nats/token  {sampled:5d}  {visible(row['completion'])}{cut}"


def _rewards_line(told: dict[str, Any]) -> str:
    recorded = told["reward_mean_recorded"]
    said = (
        "no mean recorded"
        if recorded is None
        else f"mean {recorded:.6f} recorded by the trusted role"
    )
    if told["reward_mean_here"] is None:
        return f"rewards: {said}; each one's only with --grade or --secret-file"
    return f"rewards: graded here, mean {told['reward_mean_here']:.6f}; {said}"


def visible(text: str) -> str:
    """A stranger's text on one line: nothing in it can steer a terminal."""
    cut = text[:MAX_SHOWN_CHARACTERS]
    safe = "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in cut
    )
    return safe + ("…" if len(text) > len(cut) else "")
