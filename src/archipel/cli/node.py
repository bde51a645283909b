"""`archipel node`: offer this machine to a lab."""

from pathlib import Path
from typing import Any

import click

from archipel.cli.agents import agent_options
from archipel.cli.doors import (
    child_environment,
    home_folder,
    readable_folders,
    thread_environment,
)


@click.group()
def command() -> None:
    """Offer this machine to a lab."""


@command.command()
@agent_options
@click.option(
    "--engine",
    default="archipel",
    show_default=True,
    type=click.Choice(["archipel", "transformers", "vllm"]),
)
@click.option(
    "--dtype", default="float32", show_default=True, type=click.Choice(["float32", "bfloat16"])
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, mps ...")
@click.option(
    "--duty",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.01, 1.0),
    help="Share of the time to work.",
)
@click.option(
    "--latency",
    default=0.0,
    help="Extra seconds before each exchange: a far-away node, for experiments.",
)
@click.option(
    "--max-memory-gb",
    type=click.FloatRange(min=0, min_open=True),
    help="Address space of the work process [on cpu three quarters of this machine's memory, at "
    "least 4; elsewhere no bound].",
)
def join(
    lab_url: str,
    home: Path | None,
    threads: int,
    engine: Any,
    dtype: Any,
    device: str,
    duty: float,
    latency: float,
    max_memory_gb: float | None,
    give_up: float | None,
    metrics_port: int | None,
    quiet: bool,
) -> None:
    """Join LAB_URL and work until Ctrl-C (twice: give the work back at once).

    \b
    Examples:
      archipel node join http://lab.example:8440
      archipel node join http://lab.example:8440 --duty 0.5 --threads 4
      archipel node join http://lab.example:8440 --engine vllm --device cuda
    """
    from archipel.cli.agents import run_agent
    from archipel.node.settings import NodeSettings
    from archipel.records.kinds import TRUSTED, WORDS_OF

    folder = home_folder("node", home)
    settings = NodeSettings(
        lab_url=lab_url,
        home=folder,
        kinds=tuple(kind for kind in WORDS_OF if kind not in TRUSTED),
        threads=threads,
        engine=engine,
        dtype=dtype,
        device=device,
        duty=duty,
        latency_s=latency,
        max_memory_bytes=int(max_memory_gb * 2**30) if max_memory_gb else None,
        give_up_s=give_up,
        environment=child_environment() | thread_environment(threads),
        readable=readable_folders(folder),
    )
    run_agent(settings, metrics_port, quiet)
