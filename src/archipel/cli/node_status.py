"""`archipel node status`: what this machine earned and did, by lab; also without a network."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.clock import clock_ms
from archipel.cli.doors import home_folder, mending, printable, show
from archipel.plurals import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from archipel.node.earnings import Account
    from archipel.node.pledged import Pledged
    from archipel.node.stints import Division

ASK_LIMIT_S = 8.0
DAYS_SHOWN = 14
CREDIT = (
    "a credit counts work that a lab accepted, at the price that its run names; it is not money"
)


@click.command()
@click.option("--home", type=click.Path(path_type=Path), help="[~/.archipel/node]")
@click.option("--offline", is_flag=True, help="Ask no lab; say what was last heard.")
@click.option(
    "--days",
    default=DAYS_SHOWN,
    show_default=True,
    type=click.IntRange(0, 400),
    help="The newest days to list, by lab.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Ask no lab, say only whether a node runs here, and end with 1 if none does: the health check of a container.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines; amounts in micro-credits.")
@click.pass_context
def status(
    context: click.Context,
    home: Path | None,
    offline: bool,
    days: int,
    check: bool,
    as_json: bool,
) -> None:
    """Balance and history at every lab that this machine worked for.

    A credit is the unit in which a lab counts accepted work; its run's terms say what a group is
    paid. The balance is what the lab says, the days are this machine's own counts.

    \b
    Examples:
      archipel node status
      archipel node status --offline --json
      archipel node status --home ~/.archipel/update
      archipel node status --check
    """
    from dataclasses import asdict

    from archipel.node.divided import read_account
    from archipel.node.earnings import accounts, as_document
    from archipel.node.going_back import went_back
    from archipel.node.home import is_taken
    from archipel.node.patience import NodeFailed
    from archipel.node.pledged import kept_pledges
    from archipel.node.small_files import Unreadable
    from archipel.node.successors import followed_in

    folder = home_folder("node", home, make=False)
    with mending(Unreadable, NodeFailed, OSError):
        found = [] if check else accounts(folder)
        running = is_taken(folder)
        account, pledged = read_account(folder), kept_pledges(folder, time.time())
        back = [] if check else list(went_back(folder))
        followed = {} if check else followed_in(folder)
    state = f"{folder}: {'a node runs here now' if running else 'no node runs here now'}"
    if check:
        show({"home": str(folder), "running": running}, as_json, lambda: state)
        context.exit(0 if running else 1)
    now = {each.lab: followed.get((each.url, each.lab), (each.lab, each.url)) for each in found}
    heard = {} if offline else asyncio.run(_heard(found, now))
    result = {
        "home": str(folder),
        "running": running,
        "labs": [
            as_document(each) | _continued(each, now[each.lab]) | heard.get(each.lab, {})
            for each in found
        ],
        "machine": None if not account.places else asdict(account),
        "pledges": [asdict(each) for each in pledged],
        "went_back": [asdict(each) | {"folder": str(each.folder)} for each in back],
    }

    def text() -> str:
        lines = [state]
        lines += [*_division_lines(account), *_pledge_lines(pledged, account)]
        lines += [
            f"memory was ahead of a ledger: {each.why}; what is beyond version {each.to} lies in {each.folder}"
            for each in back
        ]
        for each in found:
            lines += _lab_lines(each, now[each.lab], heard.get(each.lab, {}), days)
        lines += _last_lines(bool(found), running or bool(account.places))
        return printable("\n".join(lines))

    show(result, as_json, text)


def _last_lines(has_accounts: bool, has_begun: bool) -> list[str]:
    if has_accounts:
        return ["", CREDIT]
    if has_begun:
        return ["", "no work of it was taken, returned or lost at a lab yet"]
    return ["it never joined a lab; to join one: archipel node join http://LAB:8440"]


def _continued(account: "Account", now: tuple[str, str]) -> dict[str, Any]:
    """Which lab it is by now, and where, if another one continues it."""
    lab, url = now
    return {} if url == account.url else {"followed": {"lab": lab, "url": url}}


async def _heard(
    found: "list[Account]", now: "Mapping[str, tuple[str, str]]"
) -> dict[str, dict[str, Any]]:
    """Lab -> what it, or the one that continues it, says now, or why it says nothing. now: lab -> that one's key and address."""
    answers = await asyncio.gather(*(_ask(each.node, *now[each.lab]) for each in found))
    return {each.lab: answer for each, answer in zip(found, answers, strict=True)}


async def _ask(node: str, key: str, url: str) -> dict[str, Any]:
    from archipel.node.address import BadAddress
    from archipel.node.client import LabReader
    from archipel.node.exchange import LabRefused, LabUnreachable
    from archipel.records.documents import NodeView

    try:
        async with asyncio.timeout(ASK_LIMIT_S), LabReader(url) as lab:
            await lab.meet()
            if lab.lab != key:
                return {"no_answer": f"another lab answers at {url} now: {lab.lab}"}
            view = await lab.read(NodeView, f"/nodes/{node}")
    except (LabUnreachable, LabRefused, BadAddress) as error:
        return {"no_answer": str(error)}
    except TimeoutError:
        return {"no_answer": f"{url}: no answer within {ASK_LIMIT_S:.0f} s"}
    places = [each.model_dump(mode="json") for each in view.places]
    return {
        "balance_micro": view.credit_micro,
        "balance_at_s": int(time.time()),
        "places": places,
    }


def _lab_lines(
    account: "Account", now: tuple[str, str], heard: dict[str, Any], days: int
) -> list[str]:
    lines = ["", f"lab {account.lab} at {account.url}"]
    if _continued(account, now):
        lines.append(f"  continued by {now[0]} at {now[1]}, for which this node works now")
    lines.append(f"  {_balance(account, heard)}")
    if "no_answer" in heard:
        lines.append(f"  no answer now: {heard['no_answer']}")
    lines += [f"  {_place(each)}" for each in heard.get("places", ())]
    lines.append(f"  {'all days':12} {_counts(account.total())}")
    shown = sorted(account.days)[-days:] if days else []
    return lines + [f"  {day:12} {_counts(account.days[day])}" for day in reversed(shown)]


def _division_lines(account: "Division") -> list[str]:
    """How the machine was divided among labs, where it serves several."""
    from archipel.node.wording import duration

    total_s = sum(each.spent_s for each in account.places.values())
    weight = sum(each.weight for each in account.places.values())
    lines = ["", "the machine's time, by lab (archipel node start):"] if account.places else []
    for name, place in account.places.items():
        share = f"{place.spent_s / total_s:.0%}" if total_s else "none yet"
        asked = f"{place.weight / weight:.0%} by weight"
        lines.append(f"  {name}: {duration(place.spent_s)}, {share}; {asked}")
    return lines


def _pledge_lines(pledged: "Sequence[Pledged]", account: "Division") -> list[str]:
    from archipel.cli.node_pledge import line_of

    now_ms, lines = clock_ms(), ["", "pledged, and goes first:"] if pledged else []
    for each in pledged:
        floor = account.floors.get(each.name)
        lines.append(f"  {line_of(each, now_ms, None if floor is None else floor.given_s)}")
    return lines


def _place(place: dict[str, Any]) -> str:
    from archipel.cli.run_words import place_words
    from archipel.records.capacity import PlaceView

    return place_words(PlaceView(**place))


def _balance(account: "Account", heard: dict[str, Any]) -> str:
    if "balance_micro" in heard:
        return f"balance {heard['balance_micro'] / 1e6:.6f} credits, says the lab now"
    if account.balance_micro is None:
        return "balance unknown: the lab never said it"
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(account.balance_at_s))
    return f"balance {account.balance_micro / 1e6:.6f} credits, as of {at}"


def _counts(day: dict[str, int]) -> str:
    from archipel.node.earnings import COUNTS
    from archipel.node.wording import duration

    outcomes = ", ".join(f"{n} {name}" for name, n in sorted(day.items()) if name not in COUNTS)
    return (
        f"{day.get('credit_micro', 0) / 1e6:.6f} credits · {outcomes or 'no leases'} · "
        f"{counted(day.get('groups', 0), 'group')}, {counted(day.get('tokens', 0), 'token')} in "
        f"{duration(day.get('busy_ms', 0) / 1000)}"
    )
