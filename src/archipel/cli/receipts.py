"""`archipel receipts`: what a served model was asked and what is due for it, checked; a meter named, revenue entered."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.credits import Amount, credits_words
from archipel.cli.doors import LAB, Mendable, mending, show
from archipel.cli.helping import Group
from archipel.cli.keys import load_key, operator_key
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.names import run_names
from archipel.cli.owners import say
from archipel.cli.telling import seldom
from archipel.market.amounts import written
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.market.receipts import Chain, Opened
    from archipel.records.ownership_documents import MeterView

DIR = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True))
RUN = click.argument("run", shell_complete=run_names)
KEY = click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The key of an operator of the lab [~/.archipel/lab/operator.key].",
)


@click.group(cls=Group)
def command() -> None:
    """What a served model was asked, by the signed receipts of `archipel serve --meter`; and what it earned, for its owners.

    \b
    Examples:
      archipel receipts verify meter
      archipel receipts name secret-order meter
      archipel receipts enter secret-order meter 12.5
    """


@command.command()
@DIR
@click.option(
    "--keys",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="The server's API keys: say which of them each caller has; needs the meter's key, too.",
)
@click.option(
    "--rows", default=50, show_default=True, type=click.IntRange(0, 10_000), help="Callers shown."
)
@JSON
def verify(folder: Path, keys: Path | None, rows: int, as_json: bool) -> None:
    """Check every receipt in DIR (or of one file): signature, order, sums, one key, one model; needs no network.

    What it does not show: that the server counted everything, or nothing that was not asked. Its users know what they
    asked; whoever pays can compare.

    \b
    Examples:
      archipel receipts verify meter
      archipel receipts verify meter --keys users --json
    """
    chain, is_cut = _chain(folder)
    newest = _newest(chain, folder)
    names = {} if keys is None else _names(folder, keys)
    by_due = sorted(chain.by_caller.items(), key=lambda each: (-each[1].micro, each[0]))
    facts = {
        "meter": newest.receipt.meter,
        "weights": newest.receipt.weights,
        "receipts": newest.receipt.number,
        "digest": newest.digest,
        "until_ms": newest.receipt.until_ms,
        "price_micro": newest.receipt.price_micro,
        "all": newest.receipt.all.model_dump(),
        "breaks": chain.breaks,
        "is_cut": is_cut,
        "num_callers": len(by_due),
        "callers": [
            {"who": who, "key": names.get(who)} | usage.model_dump() for who, usage in by_due[:rows]
        ],
    }
    show(facts, as_json, lambda: "\n".join(_lines(facts)))


@command.command()
@RUN
@DIR
@KEY
@LAB
@JSON
def name(run: str, folder: Path, key: Path | None, lab_url: str, as_json: bool) -> None:
    """Say in the ledger that DIR's receipts count for RUN: its meter's key, and which of the run's versions it serves.

    Only an operator of the lab may; a meter is of one run and one model.

    \b
    Example:
      archipel receipts name secret-order meter
    """
    from archipel.records.ownership import MeterNamed

    receipt = _newest(_chain(folder)[0], folder).receipt
    own = operator_key(key)
    entry = say(lab_url, own, MeterNamed, run=run, meter=receipt.meter, weights=receipt.weights)
    facts = {"entry": entry, "run": run, "meter": receipt.meter, "weights": receipt.weights}
    show(facts, as_json, lambda: f"receipts of {receipt.meter} count for {run} (entry {entry})")


@command.command()
@RUN
@DIR
@click.argument("micro", required=False, metavar="[CREDITS]", type=Amount())
@click.option(
    "--upto", type=click.IntRange(1), metavar="NUMBER", help="The last receipt that is paid for [the newest]."
)  # fmt: skip
@KEY
@LAB
@JSON
def enter(
    run: str,
    folder: Path,
    micro: int | None,
    upto: int | None,
    key: Path | None,
    lab_url: str,
    as_json: bool,
) -> None:
    """Enter that CREDITS came in from the users of RUN's model [all that is due]: they go to who holds its shares now.

    For all receipts behind those entered before; each counts once. What users did not pay stays due, and may be entered
    with a later receipt. Every holder gets its part of the whole, to the last micro-credit, and the treasury its own.

    \b
    Examples:
      archipel receipts enter secret-order meter
      archipel receipts enter secret-order meter 12.5 --upto 1440
    """
    from archipel.records.ownership import RevenueEntered

    newest = _newest(_chain(folder, upto)[0], folder)
    if upto is not None and newest.receipt.number < upto:
        raise Mendable(f"there is no receipt {upto} yet; the newest is {newest.receipt.number}")
    known = _known(lab_url, run, newest.receipt.meter)
    due = newest.receipt.all.micro - known.paid_micro
    if newest.receipt.number <= known.receipts:
        raise Mendable(
            f"receipts up to {known.receipts} were entered before, and each counts once; the {credits_words(due)} that are "
            "still due are entered with the next receipt"
        )
    if micro is None and due <= 0:
        raise Mendable(f"nothing is due by the receipts up to {newest.receipt.number}")
    came = due if micro is None else micro
    own = operator_key(key)
    said: dict[str, Any] = {"first": known.receipts + 1, "micro": came, "receipt": newest.signed}
    entry = say(lab_url, own, RevenueEntered, run=run, **said)
    facts = {
        "entry": entry,
        "run": run,
        "first": known.receipts + 1,
        "last": newest.receipt.number,
        "micro": came,
        "left_micro": due - came,
    }
    left = f"; {credits_words(due - came)} still due" if due > came else ""
    words = f"{credits_words(came)} to the holders of {run}, for receipts {known.receipts + 1} to {newest.receipt.number} (entry {entry})"
    show(facts, as_json, lambda: words + left)


def _known(url: str, run: str, meter: str) -> "MeterView":
    """How far this meter's receipts were entered. Raises Mendable: it was not named for this run."""
    from archipel.records.ownership_documents import OwnershipView

    async def told() -> OwnershipView:
        from archipel.node.client import LabReader

        async with LabReader(url) as lab:
            return await lab.read(OwnershipView, f"/runs/{run}/ownership?rows=0")

    found = next((each for each in ask_lab(told()).meters if each.meter == meter), None)
    if found is None:
        raise Mendable(f"{meter} is no meter of {run}; name it first: archipel receipts name")
    return found


def _chain(folder: Path, upto: int | None = None) -> "tuple[Chain, bool]":
    """All receipts there, or those up to a number, checked; and whether the last line is not whole.

    Raises:
        Mendable: one is none, or does not follow.
    """
    from archipel.market.receipts import BadReceipt, Chain
    from archipel.records.receipts import MAX_LINE_BYTES
    from archipel.serve.meter_file import RECEIPTS

    chain, tell, is_cut = Chain(), seldom(), False
    path = folder / RECEIPTS if folder.is_dir() else folder
    with mending(OSError), path.open("rb") as file:
        number = 0
        while upto is None or number < upto:
            line = file.readline(MAX_LINE_BYTES + 2)
            if not line:
                break
            number += 1
            if not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
                is_cut = True  # it is being written, or its server was cut off
                break
            try:
                chain.take(line.removesuffix(b"\n"))
            except BadReceipt as error:
                raise Mendable(f"{path}, line {number}: {error}") from None
            tell(f"{counted(number, 'receipt')} checked")
    return chain, is_cut


def _newest(chain: "Chain", folder: Path) -> "Opened":
    if chain.newest is None:
        raise Mendable(f"{folder} has no receipt yet; ask the model that is served with --meter")
    return chain.newest


def _names(folder: Path, keys: Path) -> dict[str, str]:
    """Caller as receipts call it -> which of the server's keys it has, from 1 on."""
    from archipel.serve.access import Access, InvalidKeys, keys_of
    from archipel.serve.meter_file import KEY as METER_KEY
    from archipel.serve.metering import callers_of

    with mending(OSError, InvalidKeys):
        access = Access(frozenset(), keys_of(keys))
    found = callers_of(load_key(folder / METER_KEY), access).values()
    return {who: f"key {place}" for place, who in enumerate(found, 1)}


def _lines(facts: dict[str, Any]) -> list[str]:
    total = facts["all"]
    lines = [
        f"{counted(facts['receipts'], 'receipt')} of {facts['meter']}, each behind the one before it, all signatures hold",
        f"  weights {facts['weights']}",
        f"  {_usage(total)}; now {written(facts['price_micro'])} credits for a million tokens",
    ]
    lines += [
        f"  {each['who']}  {_usage(each)}" + (f"  {each['key']}" if each["key"] else "")
        for each in facts["callers"]
    ]
    if facts["num_callers"] > len(facts["callers"]):
        lines.append(f"  and {facts['num_callers'] - len(facts['callers'])} more (--rows)")
    if facts["breaks"]:
        numbers = ", ".join(map(str, facts["breaks"][:8]))
        lines.append(
            f"  the server was cut off {counted(len(facts['breaks']), 'time')} (before receipt {numbers}): what it had "
            "answered since the receipt before is in none"
        )
    if facts["is_cut"]:
        lines.append("  the last line is not whole: it is being written, or its server was cut off")
    return lines


def _usage(of: dict[str, Any]) -> str:
    num_tokens = f"{of['tokens_in']} tokens in, {of['tokens_out']} out"
    return f"{credits_words(of['micro'])} for {counted(of['answers'], 'answer')}, {num_tokens}"
