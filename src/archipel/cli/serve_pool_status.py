"""How a pool stands whose gateway runs on this machine, and a new code from it.

The gateway writes how it stands into a file. A code never lies in one: whoever wants one makes a pipe (mode 0600, in a
folder of its owner alone), and the gateway says it there.
"""

import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from archipel.cli.doors import Mendable, home_folder
from archipel.cli.serve_shared import GIGABYTE
from archipel.plurals import counted

FOLDER = "pool"
MAX_STATUS_BYTES = 1_000_000
PIPE = "ask-for-a-code"
CODE_WAIT_S = 15.0


def standing() -> dict[str, Any]:
    """Raises Mendable: no gateway runs here; one that was killed has left its file, and holds its sign no more."""
    import json

    from archipel.serve.pool.paired import STATUS
    from archipel.serve.running import those_that_run

    path = home_folder(FOLDER, None, make=False) / STATUS
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_STATUS_BYTES))
    except (OSError, ValueError):
        found = None
    running = those_that_run(home_folder("serve", None, make=False) / "running")
    if not isinstance(found, dict) or found.get("pid") not in {each.pid for each in running}:
        raise Mendable(
            "no gateway of a pool runs here; start one with archipel serve pool MODEL, or ask on its machine"
        )
    return found


def lines_of(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['name']}: {found['num_layers']} layers; devices join at {found['address']}"]
    for each in found["devices"]:
        held = ", ".join(f"{first}..{end - 1}" for first, end in each["layers"]) or "none, spare"
        if each["line"] and found["num_lines"] > 1:
            held += f" of line {each['line']}"
        lines.append(
            f"  {each['name']}: layers {held}; {each['memory_bytes'] / GIGABYTE:.2f} GB, "
            f"{(each['layer_ns'] or 0) / 1e6:.2f} ms a layer, round trip {each['round_trip_ns'] / 1e6:.2f} ms; "
            f"{each['arithmetic']}"
        )
    for each in found["mended"]:
        lines.append(
            f"  lost {each['lost']}: made good in {each['ms']} ms, {each['positions']} positions computed again"
        )
    if found["moved"]:
        lines.append(f"  {counted(found['moved'], 'stream')} went on over another line")
    return lines


def new_code() -> str:
    """A line for one device more, from the gateway that runs here.

    Raises:
        Mendable: none does, or it does not answer.
    """
    standing()
    path = home_folder(FOLDER, None) / PIPE
    path.unlink(missing_ok=True)
    os.mkfifo(path, 0o600)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return _first_line(descriptor)
        finally:
            os.close(descriptor)
    finally:
        path.unlink(missing_ok=True)


def join_line(code: str) -> str:
    """What to type on the next device."""
    return f"archipel serve pool join {standing()['address']} {code}"


def say_how_to_join() -> None:
    """After a gateway was started in the background."""
    try:
        click.echo(f"on another device, within ten minutes:\n  {join_line(new_code())}")
    except Mendable as error:
        click.echo(f"no code yet ({error}); ask for one: archipel serve pool code", err=True)


def _first_line(descriptor: int) -> str:
    until, said = time.monotonic() + CODE_WAIT_S, b""
    while time.monotonic() < until:
        select.select([descriptor], [], [], 0.1)
        try:
            part = os.read(descriptor, 256)
        except BlockingIOError:
            part = b""
        said += part
        if said.endswith(b"\n"):
            return said.decode("ascii", "replace").strip()
        if not part:  # nobody has written yet
            time.sleep(0.05)
    raise Mendable("the gateway did not answer; is it still running? See archipel serve list")


def say_code(folder: Path, code: Callable[[], str]) -> None:
    """For the gateway: answer whoever asks for a code now, if anybody does."""
    try:
        descriptor = os.open(folder / PIPE, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody asks
        return
    try:
        os.write(descriptor, f"{code()}\n".encode("ascii"))
    except OSError:  # gone meanwhile
        return
    finally:
        os.close(descriptor)
