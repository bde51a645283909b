"""`archipel node pledge`, `pledges` and `withdraw-pledge`: compute that this machine's owner pledges to a lab or a purpose."""

import asyncio
import secrets
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.clock import clock_ms
from archipel.cli.doors import LabUrl, Mendable, home_folder, mending, printable, show

if TYPE_CHECKING:
    from archipel.node.pledged import Pledged

ASK_LIMIT_S = 30.0
MILLION = 1_000_000
HOME = click.option("--home", type=click.Path(path_type=Path), help="[~/.archipel/node]")
KEY = click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="The key that pledges, where the node belongs to an operator: theirs [HOME/node.key].",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")


@click.command()
@click.argument("lab_url", type=LabUrl(), required=False)
@click.option("--purpose", metavar="TAG", help="To whatever runs declare this purpose, at any lab.")
@click.option(
    "--share",
    type=click.FloatRange(0.000001, 1),
    help="Part of the time that this machine works, such as 0.25.",
)
@click.option("--hours", type=click.IntRange(1, 168), help="Hours of work a week, instead.")
@click.option(
    "--until",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="It holds until this day begins, by local time.",
)
@click.option(
    "--at",
    "tell",
    multiple=True,
    type=LabUrl(),
    metavar="URL",
    help="A lab that is to enter a pledge to a purpose; may be given several times [those this node serves].",
)
@HOME
@KEY
@AS_JSON
def pledge(
    lab_url: str | None,
    purpose: str | None,
    share: float | None,
    hours: int | None,
    until: datetime,
    tell: tuple[str, ...],
    home: Path | None,
    key: Path | None,
    as_json: bool,
) -> None:
    """Pledge time of this machine to LAB_URL, or to a purpose. It goes before whatever others pay.

    The node honours it (archipel node start); the lab enters it into its ledger, and shows at /compute beside it what was
    given. Nobody is paid for pledging, and nobody is held to it but by this machine.

    \b
    Examples:
      archipel node pledge https://lab.example --share 0.25 --until 2027-06-30
      archipel node pledge --purpose medicine --hours 20 --until 2027-06-30
    """
    from archipel.node.known_labs import known_labs
    from archipel.node.patience import NodeFailed
    from archipel.node.pledged import NotPledged, Pledged, keep
    from archipel.node.small_files import Unreadable

    if (lab_url is None) == (purpose is None):
        raise click.UsageError("to whom: LAB_URL, or --purpose TAG, one of them")
    if (share is None) == (hours is None):
        raise click.UsageError("how much: --share, or --hours a week, one of them")
    folder, now_s = home_folder("node", home, make=False), time.time()
    with mending(NotPledged, Unreadable, NodeFailed, OSError):
        labs = tell or ((lab_url,) if lab_url else tuple(known_labs(folder)))
        made = Pledged(
            name=secrets.token_hex(8),
            lab=None if lab_url is None else asyncio.run(_key_of(lab_url)),
            purpose=purpose,
            share=None if share is None else round(share * MILLION),
            hours=hours,
            until_ms=int(until.timestamp() * 1000),
            made_ms=int(now_s * 1000),
        )
        fields = {
            "purpose": purpose,
            "share": made.share,
            "hours": hours,
            "until_ms": made.until_ms,
        }
        _check(made, fields)
        keep(folder, made, now_s)
        signer = _signer(folder, key)
        told, entered = asyncio.run(_told(labs, signer, made.name, fields))
        keep(folder, replace(made, told=entered), now_s)
    show(_document(made) | {"labs": told}, as_json, lambda: _said(made, told))


def _check(made: "Pledged", fields: dict[str, Any]) -> None:
    """What no lab would take is not kept either. Raises Mendable."""
    from pydantic import ValidationError

    from archipel.records.compute import MAX_PLEDGED_MS, ComputePledged

    lasts_ms = made.until_ms - made.made_ms
    if not 0 < lasts_ms <= MAX_PLEDGED_MS:
        raise Mendable(
            f"--until is {lasts_ms // 86_400_000} days away; expected 1 to {MAX_PLEDGED_MS // 86_400_000}"
        )
    nobody = "did:key:z6Mk" + 44 * "1"
    try:
        ComputePledged(lab=nobody, author=nobody, seq=1, name=made.name, **fields)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise Mendable(
            f"no such pledge ({'.'.join(map(str, fault['loc']))}: {fault['msg']})"
        ) from None


@click.command()
@HOME
@AS_JSON
def pledges(home: Path | None, as_json: bool) -> None:
    """What is pledged of this machine's time, and what was given by this machine's own account.

    \b
    Examples:
      archipel node pledges
      archipel node pledges --json
    """
    from archipel.node.divided import read_account
    from archipel.node.pledged import all_pledges
    from archipel.node.small_files import Unreadable

    folder, now_ms = home_folder("node", home, make=False), clock_ms()
    with mending(Unreadable, OSError):
        found, account = all_pledges(folder), read_account(folder)
    given = {name: floor.given_s for name, floor in account.floors.items()}
    result = [
        _document(each) | {"holds": each.holds(now_ms), "given_s": given.get(each.name, 0.0)}
        for each in found
    ]

    def text() -> str:
        if not found:
            return "nothing is pledged here; archipel node pledge --help says how"
        return printable("\n".join(line_of(each, now_ms, given.get(each.name)) for each in found))

    show({"home": str(folder), "pledges": result}, as_json, text)


@click.command("withdraw-pledge")
@click.argument("name")
@HOME
@KEY
@AS_JSON
def withdraw_pledge(name: str, home: Path | None, key: Path | None, as_json: bool) -> None:
    """Take a pledge back; what was given until now stays counted.

    \b
    Examples:
      archipel node withdraw-pledge 0123456789abcdef
    """
    from archipel.node.known_labs import known_labs
    from archipel.node.patience import NodeFailed
    from archipel.node.pledged import NotPledged, withdraw
    from archipel.node.small_files import Unreadable

    folder = home_folder("node", home, make=False)
    with mending(NotPledged, Unreadable, NodeFailed, OSError):
        gone = withdraw(folder, name, time.time())
        labs = tuple(
            url for url, lab in known_labs(folder).items() if gone.lab is None or lab == gone.lab
        )
    told, _ = asyncio.run(_told(labs, _signer(folder, key), name, None))
    show(_document(gone) | {"labs": told}, as_json, lambda: _said(gone, told))


def line_of(pledged: "Pledged", now_ms: int, given_s: float | None) -> str:
    """One pledge, in words."""
    from archipel.node.wording import duration

    much = f"{pledged.hours} h a week" if pledged.hours else f"{(pledged.share or 0) / 10_000:g}%"
    whom = f"lab {pledged.lab}" if pledged.lab else f"purpose {pledged.purpose}"
    day = time.strftime("%Y-%m-%d", time.localtime(pledged.until_ms / 1000))
    state = "withdrawn" if pledged.withdrawn else "" if pledged.holds(now_ms) else "over"
    return f"{pledged.name}: {much} to {whom} until {day}, given {duration(given_s or 0)}" + (
        f" ({state})" if state else ""
    )


def _document(pledged: "Pledged") -> dict[str, Any]:
    from dataclasses import asdict

    told = asdict(pledged)
    told.pop("told")
    return told


def _said(pledged: "Pledged", told: dict[str, str]) -> str:
    lines = [line_of(pledged, clock_ms(), None)]
    lines += [f"  {url}: {answer}" for url, answer in told.items()]
    if not told:
        lines.append(
            "  no lab was told; this machine keeps to it all the same (name labs with --at)"
        )
    return printable("\n".join(lines))


def _signer(folder: Path, key: Path | None) -> Any:
    """Raises Mendable: there is no key."""
    from archipel.cli.keys import load_key

    return load_key(key or folder / "node.key")


async def _key_of(url: str) -> str:
    """The lab's own key. Raises Mendable: no lab answers."""
    from archipel.node.client import LabReader
    from archipel.node.exchange import LabRefused, LabUnreachable

    try:
        async with asyncio.timeout(ASK_LIMIT_S), LabReader(url) as lab:
            await lab.meet()
            return lab.lab
    except (LabUnreachable, LabRefused, TimeoutError) as error:
        raise Mendable(f"{url} does not say whose lab it is: {error}; try again") from None


async def _told(
    labs: tuple[str, ...], signer: Any, name: str, fields: dict[str, Any] | None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Lab -> what it answered, and keys of those that entered it; fields: of a pledge, None: it is withdrawn."""
    answers = await asyncio.gather(*(_tell(url, signer, name, fields) for url in labs))
    said = {url: text for url, (text, _) in zip(labs, answers, strict=True)}
    return said, tuple(key for _, key in answers if key is not None)


async def _tell(
    url: str, signer: Any, name: str, fields: dict[str, Any] | None
) -> tuple[str, str | None]:
    from archipel.node.client import LabClient
    from archipel.node.exchange import LabRefused, LabUnreachable
    from archipel.records.compute import ComputePledged, ComputeWithdrawn

    try:
        async with asyncio.timeout(ASK_LIMIT_S), LabClient(url, signer) as lab:
            await lab.greet()
            if fields is None:
                receipt = await lab.submit(ComputeWithdrawn, name=name)
            else:
                receipt = await lab.submit(ComputePledged, name=name, **fields)
            return f"entered, as entry {receipt.index}", lab.lab
    except (LabUnreachable, LabRefused) as error:
        return f"not entered: {error}", None
    except TimeoutError:
        return f"not entered: no answer within {ASK_LIMIT_S:.0f} s", None
