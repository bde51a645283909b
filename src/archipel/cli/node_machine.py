"""What every command that offers this machine takes: what samples, when, and how much of the machine.

`machine_options` puts them on a command, `machine_of` makes of them what `NodeSettings` says of the machine.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import (
    Mendable,
    child_environment,
    home_folder,
    readable_folders,
    thread_environment,
)
from archipel.cli.engines import device_option, spread_options
from archipel.cli.grouped import together
from archipel.cli.node_asks import asking_of, is_somebody_there

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


machine_options = together(
    click.option(
        "--engine",
        default="archipel",
        show_default=True,
        type=click.Choice(["archipel", "transformers", "vllm"]),
        help="What samples; the others need an extra package.",
    ),
    click.option(
        "--dtype",
        default="float32",
        show_default=True,
        type=click.Choice(["float32", "bfloat16"]),
        help="Numbers that the engine computes in.",
    ),
    device_option("samples"),
    click.option(
        "--engines",
        default=1,
        show_default=True,
        type=click.IntRange(1, 64),
        help="Processes of the engine side by side, each with the weights and --threads threads; with several "
        "accelerators each has its own.",
    ),
    spread_options,
    click.option(
        "--duty",
        default=1.0,
        show_default=True,
        type=click.FloatRange(0.01, 1.0),
        help="Share of the time to work.",
    ),
    click.option(
        "--only-at",
        multiple=True,
        type=Span(),
        metavar="HH:MM-HH:MM",
        help="Work within these hours only, by local time; may be given several times.",
    ),
    click.option("--not-on-battery", is_flag=True, help="Pause while the machine runs on battery."),
    click.option(
        "--max-load",
        type=click.FloatRange(0),
        metavar="CORES",
        help="Pause while other programs keep more processor cores than this busy.",
    ),
    click.option(
        "--latency",
        default=0.0,
        help="Extra seconds before each exchange: a far-away node, for experiments.",
    ),
    click.option(
        "--max-memory-gb",
        type=click.FloatRange(min=0, min_open=True),
        help="Address space of the work process [on cpu three quarters of this machine's memory, at "
        "least 4; elsewhere no bound].",
    ),
    click.option(
        "--scratch-gb",
        default=4.0,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        help="What work may write until its answer is delivered; an engine of several processes, and vLLM, read each "
        "version's weights there.",
    ),
    click.option(
        "--lasting-gb",
        default=8.0,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        help="What runs may keep in HOME/memory between their works, such as an optimiser's state; the run worked for "
        "longest ago goes first.",
    ),
)


def machine_of(
    given: dict[str, Any], home: Path | None, threads: int, quiet: bool
) -> dict[str, Any]:
    """What `NodeSettings` says of the machine and its home, made if it can do it, out of a command's options, which also
    say what it asks for its work.

    Raises:
        Mendable: it cannot do what was asked for.
    """
    from archipel.cli.engines import require_device, require_engine, spread_environment, spread_of
    from archipel.records.kinds import TRUSTED, WORDS_OF

    engine, memory_gb = given.pop("engine"), given.pop("max_memory_gb")
    require_engine(engine)
    device = given.pop("device")
    if engine != "vllm":
        require_device(device)
    spread = spread_of(engine, given.pop("devices_per_engine"), given.pop("spread"))
    pauses = [given.pop(name) for name in ("only_at", "not_on_battery", "max_load")]
    said = {name: given.pop(name) for name in ("dtype", "engines", "duty")}
    pausing = _pausing(*pauses)
    folder = home_folder("node", home)
    return said | {
        "home": folder,
        "engine": engine,
        "spread": spread,
        "device": device,
        "threads": threads,
        "kinds": tuple(kind for kind in WORDS_OF if kind not in TRUSTED),
        "pausing": pausing,
        "latency_s": given.pop("latency"),
        "max_memory_bytes": int(memory_gb * 2**30) if memory_gb else None,
        "max_scratch_bytes": int(given.pop("scratch_gb") * 2**30),
        "lasting_bytes": int(given.pop("lasting_gb") * 2**30),
        "asking": asking_of(given, folder, is_somebody_there(quiet)),
        "environment": spread_environment(spread)
        | child_environment()
        | thread_environment(threads),
        "readable": readable_folders(folder),
    }


def _pausing(
    only_at: "tuple[Hours, ...]", not_on_battery: bool, max_load: float | None
) -> "Pausing":
    from archipel.node.pausing import Machine, Pausing, cannot_tell

    rules = Pausing(only_at, not_on_battery, max_load)
    problem = cannot_tell(rules, Machine())
    if problem:
        raise Mendable(f"{problem}, so it cannot pause by that; leave the option out")
    return rules
