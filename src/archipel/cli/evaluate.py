"""`archipel eval`: score a model directory on a recipe's held-out tasks."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.engines import device_option
from archipel.cli.names import recipe_names
from archipel.cli.variants import CHOSEN, exact_option
from archipel.plurals import counted

FINEST = "w13a15"

if TYPE_CHECKING:
    from archipel.work.judging import Judgement


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("recipe_name", metavar="RECIPE", shell_complete=recipe_names)
@click.option(
    "--base",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where MODEL is an adapter: the model that it lies over [the directory that it names].",
)
@click.option(
    "--split",
    default="dev",
    show_default=True,
    type=click.Choice(["dev", "test"]),
    help="Part of the tasks; look at test once.",
)
@click.option(
    "--tasks", default=512, show_default=True, type=click.IntRange(1, 65536), help="How many."
)
@click.option(
    "--samples",
    default=0,
    show_default=True,
    type=click.IntRange(0, 1024),
    help="Also pass@k with this many samples.",
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The verifier's secret.",
)
@click.option(
    "--stop",
    multiple=True,
    metavar="TEXT",
    help="End answers before this text instead of where RECIPE says; may be given more than once.",
)
@click.option("--seed", type=int, help="Another run seed than the recipe's.")
@exact_option("Answer", CHOSEN)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Processor threads of the tensor library.",
)
@device_option("answers")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    model: Path,
    recipe_name: str,
    base: Path | None,
    split: str,
    tasks: int,
    samples: int,
    secret_file: Path | None,
    stop: tuple[str, ...],
    seed: int | None,
    variant: str | None,
    threads: int,
    device: str,
    as_json: bool,
) -> None:
    """Score MODEL on the held-out tasks of RECIPE: greedy pass@1, and pass@k when asked.

    --exact alone answers by the variant that RECIPE names, or that MODEL/exact.json has for these
    weights, or by w13a15.

    \b
    Examples:
      archipel eval trained reasoning-gym
      archipel eval trained secret-order --secret-file secret --split test --samples 64
      archipel eval trained reasoning-gym --exact w7a8
      archipel eval adapter my.toml --base start
    """
    from archipel.cli.doors import at_work

    at_work("loading")
    import torch

    from archipel.cli.doors import mending, show
    from archipel.cli.recipes import find_recipe, with_seed, with_stop
    from archipel.cli.secrets import given_secret
    from archipel.curves.history import plain_exam
    from archipel.engine.engine import NonFiniteLogits
    from archipel.engine.exact.backends import NoBackend
    from archipel.model.devices import NoDevice, ready_device
    from archipel.model.directory import InvalidModel
    from archipel.records.exact import CONTRACTS
    from archipel.training.environments.apart import TaskProcessLost
    from archipel.training.grading import GraderUnavailable
    from archipel.work.judging import Trial, judge
    from archipel.work.kind import by_contract

    torch.set_num_threads(threads)
    with mending(NoDevice):
        ready_device(device)
    recipe = with_stop(with_seed(find_recipe(recipe_name), seed), stop)
    secret = given_secret(secret_file)
    chosen = _chosen(model, recipe.sampling.variant) if variant == CHOSEN else variant
    contract = None if chosen is None else CONTRACTS[chosen]
    trial = Trial(tasks, tasks, samples, split, contract, device)
    lost = (TaskProcessLost, GraderUnavailable, NoBackend)
    with mending(*lost, InvalidModel, NonFiniteLogits, OSError, ValueError):
        judgement = judge(model, recipe, secret, trial, at_work, base)
    for cause, count in judgement.faults.items():
        click.echo(f"{count} answers could not be graded ({cause}) and count as 0", err=True)
    metrics = judgement.greedy.to_metrics()
    if judgement.sampled is not None:
        metrics |= judgement.sampled.to_metrics()

    about = {"model": str(model), "split": split, **by_contract(judgement.contract)}
    show(about | plain_exam(metrics), as_json, lambda: _text(judgement, split))


def _chosen(model: Path, named: str | None) -> str:
    """The variant that the recipe names, or else that was measured for these weights."""
    from archipel.work.exact_check import choice_beside

    if named is not None:
        return named
    try:
        return choice_beside(model).variant
    except (ValueError, OSError) as error:
        click.echo(f"answered by {FINEST}: {error}", err=True)
        return FINEST


def _text(judgement: "Judgement", split: str) -> str:
    greedy = judgement.greedy.greedy
    by = f", answered by {judgement.contract}" if judgement.contract else ""
    lines = [f"{counted(judgement.greedy.num_tasks, f'{split} task')}, 95% intervals{by}"]
    lines.append(f"greedy pass@1  {greedy.value:.4f} [{greedy.low:.4f}, {greedy.high:.4f}]")
    answers = judgement.greedy.answers
    if "constant_reward_micro" in answers:
        share, earned = (
            answers[f"{name}_micro"] / 1e6 for name in ("commonest_answer", "constant_reward")
        )
        lines.append(
            f"one answer     {earned:.4f} if all tasks got the commonest, which is {share:.1%} of "
            f"{counted(answers['distinct_answers'], 'different answer')}"
        )
    if judgement.sampled is not None:
        lines += [
            f"pass@{k:<4}      {each.value:.4f} [{each.low:.4f}, {each.high:.4f}]"
            for k, each in judgement.sampled.pass_at.items()
        ]
    return "\n".join(lines)
