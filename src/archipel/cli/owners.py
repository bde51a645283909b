"""What commands of owners have alike: whose key signs, shares as people write them, the ledger behind a run."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from archipel.cli.doors import Mendable, home_folder, mending
from archipel.cli.grouped import together
from archipel.cli.keys import load_key
from archipel.cli.lab_door import ask_lab
from archipel.cli.ledger_place import checked_ledger, ledger_options

if TYPE_CHECKING:
    from archipel.cli.ledger_checked import Checked
    from archipel.identity import Identity
    from archipel.lab.entry import Entry
    from archipel.lab.ownership import Accountant
    from archipel.records.statement import Statement

UNITS = 10**12
_PLACES = 10
_PER_CENT: int = 10**_PLACES
_PERCENT = re.compile(rf"([0-9]{{1,3}})(?:\.([0-9]{{1,{_PLACES}}}))?%")
KEY = click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The holder's key [~/.archipel/operator/operator.key, else the node's, else the lab operator's].",
)
BUNDLE = click.option(
    "--bundle",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="A release: its ledger is read.",
)


class Share(click.ParamType):
    """A part of the whole, in units: `2.5%`, at most ten places after the point, or a number of units."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The units, one or more."""
        if isinstance(value, int):
            return value
        text = str(value).strip()
        found = _PERCENT.fullmatch(text) if text.isascii() else None
        if found is not None:
            units = int(found[1]) * _PER_CENT + int((found[2] or "").ljust(_PLACES, "0"))
        elif text.isascii() and text.isdecimal() and len(text) <= len(str(UNITS)):
            units = int(text)
        else:
            self.fail(
                f"got {text!r:.40}, expected a share like 2.5%, or units of {UNITS}", param, ctx
            )
        if not 1 <= units <= UNITS:
            self.fail(f"got {text}, expected more than 0% and at most 100%", param, ctx)
        return units


def percent(units: int) -> str:
    """Of the whole, for people; cut, never rounded up."""
    return f"{units // _PER_CENT}.{units % _PER_CENT // 10**4:06d} %"


bundled_options = together(BUNDLE, ledger_options)
"""`--bundle` and those of `ledger_options`."""


class Owners(NamedTuple):
    """A run's owners, recomputed, and what was looked at for it."""

    checked: "Checked"
    accountant: "Accountant"
    counted: dict[int, bytes]
    """Entries that count, where they were asked for."""
    leaves: list[bytes]
    """Leaf hashes of all entries, where they were asked for."""
    last_ms: int
    """The ledger's clock: when its newest entry came."""


def read_owners(
    run: str, place: dict[str, Any], bundle: Path | None, *, with_proofs: bool = False
) -> Owners:
    """The ledger there, checked, and who owns the run. Raises Mendable.

    place: `url`, `home`, `ledger` and `expect` as `ledger_options` gives them.
    """
    from archipel.lab.ownership import Accountant
    from archipel.ledger.merkle import leaf_hash
    from archipel.release.places import LEDGER

    if bundle is not None:
        if any(place[name] is not None for name in ("url", "home", "ledger")):
            raise click.UsageError("give --bundle, or one of --lab, --home and --ledger")
        place = place | {"ledger": str(bundle / LEDGER)}
    accountants: list[Accountant] = []
    counted: dict[int, bytes] = {}
    leaves: list[bytes] = []
    last_ms = 0

    def seen(entry: "Entry") -> None:
        nonlocal last_ms
        last_ms = entry.at_ms
        if not accountants:
            accountants.append(Accountant(entry.statement.lab, run))
        counts = accountants[0].take(entry)
        if with_proofs:
            data = entry.to_bytes()
            leaves.append(leaf_hash(data))
            if counts:
                counted[len(leaves) - 1] = data

    checked = checked_ledger(**place, seen=seen)
    (accountant,) = accountants
    if accountant.opening is None:
        known = sorted(accountant.state.runs)[:8]
        raise Mendable(f"no run {run!r:.80} in this ledger; it has {known}")
    return Owners(checked, accountant, counted, leaves, last_ms)


def own_key(key: Path | None) -> "Identity":
    """Who speaks: the key that is named, or the first that this machine has."""
    if key is not None:
        return load_key(key)
    places = (("operator", "operator.key"), ("node", "node.key"), ("lab", "operator.key"))
    for folder, name in places:
        path = home_folder(folder, None, make=False) / name
        if path.exists():
            return load_key(path)
    raise Mendable("this machine has no operator's and no node's key; name one with --key FILE")


def say(url: str, own: "Identity", kind: "type[Statement]", **fields: Any) -> int:
    """One statement to a lab; its entry."""
    from pydantic import ValidationError

    async def told() -> int:
        from archipel.node.client import LabClient

        async with LabClient(url, own) as lab:
            await lab.greet()
            return (await lab.submit(kind, **fields)).index

    with mending(ValidationError):
        return ask_lab(told())
