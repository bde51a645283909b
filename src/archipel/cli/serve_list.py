"""`archipel serve list`, `archipel serve stop`: this user's servers on this machine."""

import signal
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, at_work, home_folder, printable, show

if TYPE_CHECKING:
    from archipel.serve.running import Running

FOLDER = "serve"
ASK_LIMIT_S = 2.0
LOOK_S = 0.05
PATIENCE_S = 1.0
"""Then whoever watches is told what takes so long."""
WITHIN_S = 40.0
"""More than a server gives what it is answering."""
JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.command("list")
@JSON
def list_command(as_json: bool) -> None:
    """Servers of yours that run on this machine: address, model, process, since when, tokens a second.

    \b
    Examples:
      archipel serve list
      archipel serve list --json
    """
    rows = [_row(each) for each in _running()]
    show(rows, as_json, lambda: printable("\n".join(_lines(rows))))


@click.command("stop")
@click.argument("which", metavar="NAME|PORT", required=False)
@click.option("--all", "everyone", is_flag=True, help="All of yours on this machine.")
@click.option(
    "--within",
    "within_s",
    default=WITHIN_S,
    show_default=True,
    type=click.FloatRange(0, 86_400),
    help="Seconds until one that has not ended is killed.",
)
@JSON
def stop_command(which: str | None, everyone: bool, within_s: float, as_json: bool) -> None:
    """End a server by its model's name or its port: nobody new is taken, what it is answering is ended first.

    \b
    Examples:
      archipel serve stop trained
      archipel serve stop 8450
      archipel serve stop --all --within 5
    """
    if (which is None) is not everyone:
        raise click.UsageError("name one server by its model or port, or say --all")
    meant = _meant(_running(), which)
    for each in meant:
        _tell(each, signal.SIGTERM)
    rows = _ended(meant, within_s)
    show(rows, as_json, lambda: printable("\n".join(row["outcome"] for row in rows)))


def _running() -> "list[Running]":
    from archipel.serve.running import those_that_run

    return those_that_run(_folder())


def _folder() -> Path:
    return home_folder(FOLDER, None, make=False) / "running"


def _meant(found: "Sequence[Running]", which: str | None) -> "list[Running]":
    """Raises Mendable: there is none, or more than one."""
    if which is None:
        return list(found)
    meant = [each for each in found if which in (each.name, str(each.port))]
    there = ", ".join(f"{each.name} ({each.port})" for each in found) or "none at all"
    if not meant:
        raise Mendable(f"no server {which!r} of yours runs on this machine; there is {there}")
    if len(meant) > 1:
        raise Mendable(f"{len(meant)} servers are called {which!r}; say which port: {there}")
    return meant


def _tell(one: "Running", sign: signal.Signals) -> bool:
    """Whether it was still there. Raises Mendable."""
    from archipel.serve.running import NotRunning, told_to_end

    try:
        told_to_end(_folder(), one, sign)
    except NotRunning:
        return False
    except OSError as error:
        raise Mendable(f"process {one.pid} cannot be told to end: {error.strerror}") from None
    return True


def _ended(meant: "Sequence[Running]", within_s: float) -> list[dict[str, Any]]:
    """Wait for each, and kill those that have not ended in time."""
    begun, left, rows, is_told = time.monotonic(), list(meant), [], False
    while left:
        passed_s = time.monotonic() - begun
        if passed_s > PATIENCE_S and not is_told:
            is_told = True
            at_work(f"{len(left)} end what they are answering, killed after {within_s:.0f} s")
        there = {each.pid for each in _running()}
        for one in [each for each in left if each.pid not in there]:
            rows.append(_said(one, f"ended after {passed_s:.1f} s", is_killed=False))
            left.remove(one)
        if left and passed_s >= within_s:
            for one in left:
                _tell(one, signal.SIGKILL)
                rows.append(
                    _said(one, f"killed: not ended within {within_s:.0f} s", is_killed=True)
                )
            return rows
        time.sleep(LOOK_S if left else 0)
    return rows


def _said(one: "Running", what: str, is_killed: bool) -> dict[str, Any]:
    outcome = f"{one.name} at {one.address} (process {one.pid}): {what}"
    return {"name": one.name, "pid": one.pid, "killed": is_killed, "outcome": outcome}


def _row(one: "Running") -> dict[str, Any]:
    since = datetime.fromtimestamp(one.since).astimezone()
    return {
        "name": one.name,
        "address": one.address,
        "pid": one.pid,
        "since": since.isoformat(),
        "log": one.log,
        **_health(one),
    }


def _health(one: "Running") -> dict[str, Any]:
    """What it says of itself; nothing, where it does not answer."""
    import httpx

    headers = {}
    if one.key_file is not None:
        from archipel.serve.access import InvalidKeys, keys_of

        try:
            key = keys_of(Path(one.key_file))[0]
        except (InvalidKeys, OSError) as error:
            return {"answers": False, "why": str(error)}
        headers = {"authorization": f"Bearer {key}"}
    try:
        found = httpx.get(
            f"{one.address}/health", headers=headers, timeout=ASK_LIMIT_S, trust_env=False
        )
        said = found.raise_for_status().json()
        return {"answers": True} | {
            name: said[name] for name in ("status", "running", "waiting", "tokens_per_s")
        }
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        return {"answers": False, "why": str(error) or type(error).__name__}


def _lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["no server of yours runs on this machine; to start one: archipel serve MODEL"]
    shown = [("MODEL", "ADDRESS", "PROCESS", "SINCE", "NOW"), *map(_cells, rows)]
    widths = [max(len(row[n]) for row in shown) for n in range(4)]
    return [
        "  ".join(f"{cell:{w}}" for cell, w in zip(row, [*widths, 0], strict=True)) for row in shown
    ]


def _cells(row: dict[str, Any]) -> tuple[str, str, str, str, str]:
    now = f"does not answer: {row['why']}" if not row["answers"] else (
        f"{row['tokens_per_s']:.1f} tokens/s, {row['running']} running, {row['waiting']} waiting"
    )  # fmt: skip
    since = f"{datetime.fromisoformat(row['since']):%Y-%m-%d %H:%M:%S}"
    return row["name"], row["address"], str(row["pid"]), since, now
