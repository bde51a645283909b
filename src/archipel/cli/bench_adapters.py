"""`archipel bench adapters`: what an adapter's version and update cost beside whole weights."""

import click


@click.command("adapters")
@click.option(
    "--model",
    "models",
    type=click.Choice(["demo", "30m", "135m"]),
    multiple=True,
    help="Measure only this shape (may be repeated) [demo and 30m].",
)
@click.option(
    "--rank",
    "ranks",
    type=click.IntRange(1, 1024),
    multiple=True,
    help="Rank of the adapter (may be repeated) [16].",
)
@click.option(
    "--updates",
    default=3,
    show_default=True,
    type=click.IntRange(1, 100),
    help="Updates that are measured, after one that is not.",
)
@click.option("--quick", is_flag=True, help="The demo's shape alone, one update.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    models: tuple[str, ...], ranks: tuple[int, ...], updates: int, quick: bool, as_json: bool
) -> None:
    """Measure bytes of a version, processor time and memory of an update, and sampling: whole weights and LoRA.

    Each arm runs in a process of its own, on one thread, with random weights. 135m is the shape of SmolLM2-135M and
    needs 3 GB; with it this takes several minutes.

    \b
    Examples:
      archipel bench adapters --quick
      archipel bench adapters --model 30m --model 135m --rank 16 --rank 64
    """
    from archipel.bench.adapters import JobFailed, measure, table
    from archipel.cli.benches import teller
    from archipel.cli.doors import child_environment, mending, show, thread_environment

    named = ("demo",) if quick else models or ("demo", "30m")
    environment = child_environment() | thread_environment(1)
    with mending(JobFailed, OSError):
        rows = measure(named, ranks or (16,), 1 if quick else updates, environment, teller())
    show(rows, as_json, lambda: table(rows))
