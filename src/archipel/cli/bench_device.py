"""`archipel bench device`: does this machine's accelerator compute what our engine and trainer must?"""

import click

from archipel.cli.benches import JSON, quick_option, teller
from archipel.cli.engines import device_option


@click.command("device")
@device_option("computes")
@quick_option("Two families, two versions, one model's speed.")
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Processor threads of the tensor library.",
)
@JSON
def command(device: str, quick: bool, threads: int, as_json: bool) -> None:
    """Hold engine, adapters and trainer on a device against this machine's processor; then measure its speed.

    Looks at each family in fp32 and bf16: log-probabilities against the trainer's network, whether they hang on
    the batch, S = 0 twice bit for bit, an update beside the processor's. Ends with 1 where
    something does not hold that a run needs; docs/reference/devices.md says what was seen elsewhere.

    \b
    Examples:
      archipel bench device --quick
      archipel bench device --device cuda --json
    """
    import torch

    from archipel.bench.device import ACCELERATED, QUICK, WHOLE, WIDTH, measure, table
    from archipel.cli.doors import Mendable, columns, mending, show
    from archipel.model.devices import NoDevice

    torch.set_num_threads(threads)
    plan = WHOLE if device == "cpu" else ACCELERATED
    with mending(NoDevice):
        result = measure(device, QUICK if quick else plan, teller())
    show(result, as_json, lambda: table(result, columns() or WIDTH))
    if not result["sound"]:
        lost = [each["name"] for each in result["findings"] if each["needed"] and not each["held"]]
        raise Mendable(
            f"{device} does not compute what a run needs: {'; '.join(lost)}; use another device"
        )
