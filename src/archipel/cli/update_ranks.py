"""`archipel update ranks`: a further host of an update that several share; and how `update join` is told of them."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import (
    FEW_SHAPES,
    Mendable,
    at_work,
    child_environment,
    home_folder,
    mending,
    readable_folders,
    thread_environment,
    until_ctrl_c,
)
from archipel.cli.engines import device_option, require_device
from archipel.cli.grouped import together

if TYPE_CHECKING:
    from archipel.node.ranks import Ranks

DEVICES = ("cpu", "cuda")
"""On which ranks know how to meet: gloo, NCCL."""


site_options = together(
    click.option(
        "--ranks",
        default=1,
        show_default=True,
        type=click.IntRange(1, 64),
        help="Processes of this host that share each update (torchrun + FSDP2).",
    ),
    click.option(
        "--hosts",
        default=1,
        show_default=True,
        type=click.IntRange(1, 1024),
        help="Machines that share each update, all with as many --ranks and one shared --home.",
    ),
    click.option(
        "--rendezvous",
        default="",
        metavar="HOST:PORT",
        help="Where ranks of several hosts meet: an address of the first host, a free port.",
    ),
)
"""How many processes share an update, on how many hosts, and where they meet."""


def ranks_of(device: str, ranks: int, site: tuple[int, int, str]) -> "Ranks":
    """site: (hosts, which of them this is, where they meet).

    Raises:
        UsageError: they do not fit together, or ranks cannot share that device. Mendable: the device is not here.
    """
    from archipel.node.ranks import Ranks

    hosts, host, meeting = site
    try:
        shared = Ranks(ranks, hosts, host, meeting)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if shared.is_alone:
        require_device(device)
        return shared
    if device not in DEVICES:
        raise click.UsageError(
            f"several ranks share an update on {' or '.join(DEVICES)}, each on a device of its own, and --device is "
            f"{device}; give one of these, or leave --ranks and --hosts out"
        )
    require_device(device if device == "cpu" else f"{device}:{ranks - 1}")
    return shared


def check_free(meeting: str) -> None:
    """meeting: HOST:PORT, where this host is the first. Raises Mendable: another program listens at that port here."""
    port = int(meeting.rpartition(":")[2])
    with socket.socket() as tried:  # the store of ranks listens at every address
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("", port))
        except OSError as error:
            raise Mendable(
                f"ranks cannot meet at {meeting}: port {port} of this machine: {error.strerror}; "
                "name another --rendezvous, the same on all hosts"
            ) from None


@click.command()
@site_options
@click.option(
    "--host-rank",
    required=True,
    type=click.IntRange(1, 1023),
    help="Which host this is; 0 is the one where `update join` runs.",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="That of the first host's `update join`, on a file system that both share [~/.archipel/update].",
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Processor threads of each rank.",
)
@device_option("learns")
@click.option(
    "--readable",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, resolve_path=True),
    metavar="PATH",
    help="A file or folder that environments may read besides what this program needs: what recipes name; repeatable.",
)
def ranks(
    ranks: int,
    hosts: int,
    rendezvous: str,
    host_rank: int,
    home: Path | None,
    threads: int,
    device: str,
    readable: tuple[Path, ...],
) -> None:
    """Lend this machine to an update that several hosts share, until Ctrl-C; the first host runs `update join`.

    It needs no key and reaches no lab. When a rank dies anywhere, all start again and meet at the same place.

    \b
    Examples (the first host, then the second):
      archipel update join http://lab.example:8440 --ranks 2 --hosts 2 --rendezvous first.example:29400 --home /shared/update
      archipel update ranks --ranks 2 --hosts 2 --host-rank 1 --rendezvous first.example:29400 --home /shared/update
    """
    import asyncio

    from archipel.node.home import setup_of
    from archipel.node.lending import Lending, lend
    from archipel.node.settings import NodeSettings
    from archipel.records.kinds import TRUSTED_ROLE

    shared = ranks_of(device, ranks, (hosts, host_rank, rendezvous))
    folder = home_folder("update", home)
    environment = child_environment() | FEW_SHAPES | thread_environment(threads)
    settings = NodeSettings(
        lab_url="",
        home=folder,
        kinds=TRUSTED_ROLE,
        threads=threads,
        ranks=shared,
        device=device,
        readable=(*readable_folders(folder), *readable),
    )
    environment |= {"TMPDIR": str(folder / "scratch")}
    lending = Lending(shared, setup_of(settings), environment, folder / f"ranks-{host_rank}.log")
    at_work(f"lending {ranks} ranks; the log is {lending.log}")
    with until_ctrl_c(), mending(OSError):
        asyncio.run(lend(lending, lambda line: click.echo(line, err=True)))
