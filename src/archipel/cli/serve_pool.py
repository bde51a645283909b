"""`archipel serve pool`: one model over several devices of its owner, behind the same APIs as on one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, at_work, home_folder, mending, printable, show
from archipel.cli.serve import command as itself
from archipel.cli.serve_pool_status import FOLDER
from archipel.cli.serve_shared import GIGABYTE, opened, use_threads, with_options

if TYPE_CHECKING:
    from archipel.serve.pool.stage import Gift

SHARE = 0.6
"""Of the free memory, where nobody says how much a device gives."""

GIVE = click.option(
    "--give-gb",
    type=click.FloatRange(0, 65536),
    help="Memory for layers and their cache on this machine [six tenths of what is free].",
)
JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")


class Pool(click.Group):
    """What is none of the commands below is a model's directory."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`pool MODEL` is `pool start MODEL`."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["start", *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Those of `pool MODEL` too."""
        records = [param.get_help_record(ctx) for param in self.commands["start"].params]
        with formatter.section("Options of pool MODEL"):
            formatter.write_dl([each for each in records if each is not None and each[1]])
        super().format_options(ctx, formatter)


@click.group(cls=Pool)
def command() -> None:
    """One model over several of your own devices: a gateway here, layers on whoever joins.

    \b
    Examples:
      archipel serve pool trained --pool-host 0.0.0.0
      archipel serve pool join 192.168.1.7:8460 CODE --model trained
      archipel serve pool status
    """


@command.command("start", short_help="Be the gateway; what pool MODEL does")
@click.argument("model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--name", metavar="NAME", help="What clients call it [the directory's name].")
@click.option(
    "--pool-host",
    default="127.0.0.1",
    show_default=True,
    help="Address where devices join; only those with the code, or paired before, get in.",
)
@click.option(
    "--pool-port",
    default=8460,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0 takes a free one.",
)
@click.option(
    "--numbers",
    type=click.Choice(["float32", "bfloat16", "w7a8", "w12a13", "w7a15", "w13a15"]),
    default="float32",
    show_default=True,
    help="How it is computed; the last four are the exact contract, the same on every machine.",
)
@GIVE
def start(
    model: Path,
    name: str | None,
    pool_host: str,
    pool_port: int,
    numbers: str,
    give_gb: float | None,
    **given: Any,
) -> None:
    """Be the gateway of a pool that holds MODEL: prints a code for the first device, and where clients ask.

    This machine holds layers too, unless --give-gb is 0. A device that is lost is made good by the others, and
    streams go on with the same text.

    \b
    Examples:
      archipel serve pool trained --pool-host 0.0.0.0
      archipel serve pool trained --give-gb 0 --numbers w7a15
      archipel serve pool trained --pool-host 0.0.0.0 --detach
    """
    from archipel.cli.serve_open import keep_open
    from archipel.cli.serve_pool_running import Wanted, running
    from archipel.cli.serve_pool_status import say_how_to_join

    opening = opened(given | {"prove_offline": False})  # offline nobody could join
    if opening is None:
        say_how_to_join()
        return
    wanted = Wanted(
        name or model.resolve().name,
        model,
        (pool_host, pool_port),
        numbers,
        round(given["max_cache_gb"] * GIGABYTE),
        given["max_new_tokens"],
        shows_codes=given["log"] is None,
    )
    use_threads(given["threads"])
    gift = _gift(give_gb)
    with running(wanted, gift, home_folder(FOLDER, None)) as (one, said):
        keep_open(opening, {wanted.name: one}, said)


with_options(
    start,
    itself,
    *("port", "threads", "max_new_tokens", "keys_file", "timeout_s", "log"),
    host="Address for clients; any other asks for an API key, which is made and shown.",
    max_cache_gb="Memory for what is being read and said, over all devices of a line.",
    detach="Serve in the background; back with a code for the first device, or with the reason why not.",
)


@command.command("join", short_help="Give this device to a pool")
@click.argument("address", metavar="HOST[:PORT]")
@click.argument("code", required=False)
@click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The model's directory, if it is here too [layers are fetched from the gateway, and kept].",
)
@GIVE
@click.option(
    "--label", metavar="NAME", help="What the gateway calls this device [this machine's name]."
)
def join(
    address: str,
    code: str | None,
    model: Path | None,
    threads: int | None,
    give_gb: float | None,
    label: str | None,
) -> None:
    """Give this device to the pool at HOST; CODE is what its gateway shows, needed once.

    Weights are believed by their digest, wherever they come from. Comes back by itself when the link is lost.

    \b
    Examples:
      archipel serve pool join 192.168.1.7 MFRG-GZDF-MZTW-Q2LK-NNWG-23TP-OBYX-E43U
      archipel serve pool join 192.168.1.7 --model trained --give-gb 4
    """
    from archipel.blobs.store import BlobStore
    from archipel.cli.doors import keep_memory, until_ctrl_c
    from archipel.identity import BadKeyFile
    from archipel.serve.pool.joining import BadAddress, Membership, address_of
    from archipel.serve.pool.links import LinkLost
    from archipel.serve.pool.paired import BadPairing
    from archipel.serve.pool.pairing import NotPaired
    from archipel.serve.pool.weights import Copies

    at_work("loading")
    keep_memory()
    use_threads(threads)
    folder = home_folder(FOLDER, None)
    mendable = (BadAddress, BadKeyFile, BadPairing, LinkLost, NotPaired, OSError)
    with until_ctrl_c(), mending(*mendable):
        kept = BlobStore(folder / "weights", is_lasting=False)
        gift = _gift(give_gb, label)
        membership = Membership(
            folder, address_of(address), gift, lambda text: click.echo(printable(text))
        )
        if code is not None:
            membership.pair(code)
        membership.serve(Copies(model, kept))


with_options(join, itself, "threads")


@command.command("status", short_help="Who holds which layers, what was lost")
@JSON
def status(as_json: bool) -> None:
    """Show the devices of the pool whose gateway runs here: who holds which layers, and what was lost and made good.

    \b
    Examples:
      archipel serve pool status
      archipel serve pool status --json
    """
    from archipel.cli.serve_pool_status import lines_of, standing

    found = standing()
    show(found, as_json, lambda: printable("\n".join(lines_of(found))))


@command.command("code", short_help="A code for one device more")
def code_command() -> None:
    """Ask the gateway that runs here for a code: for one device more, within ten minutes, instead of any open one.

    \b
    Examples:
      archipel serve pool code
    """
    from archipel.cli.serve_pool_status import join_line, new_code

    code = new_code()
    click.echo(join_line(code))


@command.command("revoke", short_help="Pair no more with a device")
@click.argument("device", metavar="LABEL")
def revoke(device: str) -> None:
    """Pair no more with a device: its link ends within a second, and it needs a new code.

    \b
    Examples:
      archipel serve pool revoke laptop
    """
    from archipel.serve.pool.paired import PAIRED, BadPairing, PairedDevices

    with mending(BadPairing, OSError):
        gone = PairedDevices(home_folder(FOLDER, None) / PAIRED).revoke(device)
    click.echo(printable(f"{gone.label} is paired no more"))


def _gift(give_gb: float | None, label: str | None = None) -> "Gift":
    """Raises Mendable: a label that is none."""
    import re
    import socket

    from archipel.serve.pool.paired import LABEL
    from archipel.serve.pool.stage import Gift
    from archipel.work.room import free_bytes

    own = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname().partition(".")[0]).strip("-._")
    if label is not None and not re.fullmatch(LABEL, label):
        raise Mendable(
            f"{label!r:.80} is no label; expected 1 to 63 letters, digits, spaces, dots, dashes or underscores"
        )
    memory = round((free_bytes() or 4 * GIGABYTE) * SHARE)
    if give_gb is not None:
        memory = round(give_gb * GIGABYTE)
    return Gift(label or own[:60] or "device", memory)
