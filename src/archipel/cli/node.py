"""`archipel node`: offer this machine to a lab."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.agents import agent_options
from archipel.cli.doors import (
    Mendable,
    child_environment,
    home_folder,
    readable_folders,
    thread_environment,
)
from archipel.cli.engines import device_option
from archipel.cli.helping import Group
from archipel.cli.lab_door import MIRRORS
from archipel.cli.node_asks import asking_of, asking_options, is_somebody_there
from archipel.cli.node_audits import contest, disputes, reputation
from archipel.cli.node_key import key
from archipel.cli.node_service import service
from archipel.cli.node_stake import decoy, stake
from archipel.cli.node_status import status

if TYPE_CHECKING:
    from archipel.node.pausing import Hours, Pausing


class Span(click.ParamType):
    """A span of the local day on a command line."""

    name = "span"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> "Hours":
        """Read."""
        from archipel.node.pausing import BadHours, Hours

        try:
            return value if isinstance(value, Hours) else Hours.parse(value)
        except BadHours as error:
            self.fail(str(error), param, ctx)


class Place(click.ParamType):
    """Where to listen."""

    name = "place"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Read."""
        from archipel.node.addresses import BadPlace, place_of

        try:
            return value if isinstance(value, tuple) else place_of(value)
        except BadPlace as error:
            self.fail(str(error), param, ctx)


@click.group(cls=Group)
def command() -> None:
    """Offer this machine to a lab."""


for each in (status, key, service, reputation, disputes, contest, stake, decoy):
    command.add_command(each)


@command.command()
@agent_options
@click.option(
    "--engine",
    default="archipel",
    show_default=True,
    type=click.Choice(["archipel", "transformers", "vllm"]),
    help="What samples; the others need an extra package.",
)
@click.option(
    "--dtype",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "bfloat16"]),
    help="Numbers that the engine computes in.",
)
@device_option("samples")
@click.option(
    "--engines",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Processes of the engine side by side, each with the weights and --threads threads; with several "
    "accelerators each has its own.",
)
@click.option(
    "--duty",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.01, 1.0),
    help="Share of the time to work.",
)
@click.option(
    "--only-at",
    multiple=True,
    type=Span(),
    metavar="HH:MM-HH:MM",
    help="Work within these hours only, by local time; may be given several times.",
)
@click.option("--not-on-battery", is_flag=True, help="Pause while the machine runs on battery.")
@click.option(
    "--max-load",
    type=click.FloatRange(0),
    metavar="CORES",
    help="Pause while other programs keep more processor cores than this busy.",
)
@click.option(
    "--serve-blobs",
    is_flag=False,
    flag_value="127.0.0.1:0",
    type=Place(),
    metavar="[HOST:PORT]",
    help="Pass published versions on to other nodes from here, at HOST:PORT; alone, to this machine's own nodes "
    "[this node only dials out].",
)
@MIRRORS
@click.option(
    "--serve-mbit",
    default=20.0,
    show_default=True,
    type=click.FloatRange(0.1, 1_000_000),
    help="Megabits a second that all of them get together.",
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
@click.option(
    "--lasting-gb",
    default=8.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="What runs may keep in HOME/memory between their works, such as an optimiser's state; the run worked for "
    "longest ago goes first.",
)
@asking_options
def join(
    lab_url: str,
    home: Path | None,
    threads: int,
    engine: Any,
    dtype: Any,
    device: str,
    engines: int,
    duty: float,
    only_at: "tuple[Hours, ...]",
    not_on_battery: bool,
    max_load: float | None,
    serve_blobs: tuple[str, int] | None,
    mirrors: tuple[str, ...],
    serve_mbit: float,
    latency: float,
    max_memory_gb: float | None,
    lasting_gb: float,
    give_up: float | None,
    metrics_port: int | None,
    lab_key: str | None,
    delegation: Path | None,
    invitation: Path | None,
    quiet: bool,
    **asks: Any,
) -> None:
    """Join LAB_URL and work until Ctrl-C (twice: give the work back at once).

    \b
    Examples:
      archipel node join http://lab.example:8440
      archipel node join did:key:z6Mk... --duty 0.5 --threads 4
      archipel node join http://lab.example:8440 --only-at 22:00-07:00 --not-on-battery
      archipel node join http://lab.example:8440 --energy-price 0.28 --region eu-north
      archipel node join http://lab.example:8440 --engine vllm
      archipel node join http://lab.example:8440 --device cuda --engines 4
      archipel node join http://lab.example:8440 --serve-blobs 203.0.113.5:8441 --serve-mbit 100
    """
    from archipel.cli.agents import run_agent
    from archipel.cli.engines import require_device, require_engine
    from archipel.node.settings import NodeSettings
    from archipel.records.kinds import TRUSTED, WORDS_OF

    require_engine(engine)
    if engine != "vllm":
        require_device(device)
    pausing = _pausing(only_at, not_on_battery, max_load)
    folder = home_folder("node", home)
    settings = NodeSettings(
        lab_url=lab_url,
        home=folder,
        kinds=tuple(kind for kind in WORDS_OF if kind not in TRUSTED),
        threads=threads,
        engine=engine,
        dtype=dtype,
        device=device,
        engines=engines,
        duty=duty,
        pausing=pausing,
        asking=asking_of(asks, folder, is_somebody_there(quiet)),
        lab_key=lab_key,
        delegation=delegation,
        invitation=invitation,
        serve_blobs=serve_blobs,
        mirrors=mirrors,
        serve_rate=int(serve_mbit * 125_000),
        latency_s=latency,
        max_memory_bytes=int(max_memory_gb * 2**30) if max_memory_gb else None,
        lasting_bytes=int(lasting_gb * 2**30),
        give_up_s=give_up,
        environment=child_environment() | thread_environment(threads),
        readable=readable_folders(folder),
    )
    run_agent(settings, metrics_port, quiet)


def _pausing(
    only_at: "tuple[Hours, ...]", not_on_battery: bool, max_load: float | None
) -> "Pausing":
    from archipel.node.pausing import Machine, Pausing, cannot_tell

    rules = Pausing(only_at, not_on_battery, max_load)
    problem = cannot_tell(rules, Machine())
    if problem:
        raise Mendable(f"{problem}, so it cannot pause by that; leave the option out")
    return rules
