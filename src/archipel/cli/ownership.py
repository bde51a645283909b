"""`archipel ownership`: who owns a run, with proofs; shares given on, credits given to its treasury."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.credits import Amount, credits_words
from archipel.cli.doors import LAB, KeyName, Mendable, mending, show
from archipel.cli.helping import Group
from archipel.cli.lab_door import JSON
from archipel.cli.names import run_names
from archipel.cli.owners import (
    KEY,
    Owners,
    Share,
    bundled_options,
    own_key,
    percent,
    read_owners,
    say,
)
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.records.ownership_documents import OwnershipView

MAX_PROOFS = 20_000
"""Proof files that one command writes."""
MAX_ROWS = 10_000


class Shown(Group):
    """A group whose first word may be a run: then that is shown."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As always; what is no command here is a run."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=Shown)
def command() -> None:
    """Who owns a run, recomputed from its ledger; and giving shares or credits on.

    \b
    Examples:
      archipel ownership secret-order
      archipel ownership transfer secret-order did:key:z6Mk... 2.5%
    """


@command.command("show")
@click.argument("run", shell_complete=run_names)
@bundled_options
@click.option(
    "--proofs",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write every entry that counts, with the proof that it stands in the ledger, into DIR.",
)
@click.option("--holder", metavar="DID", help="Of this holder's entries alone: a key, or treasury.")
@click.option(
    "--rows", default=50, show_default=True, type=click.IntRange(1, MAX_ROWS), help="Holders shown."
)
@JSON
def show_(
    run: str,
    bundle: Path | None,
    proofs: Path | None,
    holder: str | None,
    rows: int,
    as_json: bool,
    **place: Any,
) -> None:
    """Who owns RUN, and in which parts; recomputed here from the ledger, which is read and checked.

    Shares follow the charter that the run was opened with: pay for accepted work that was kept, credits that the run spent
    of whoever gave them, weights that the charter names. Needs no key. Of a run without a charter it shows what the default
    one would give; nobody agreed to that.

    \b
    Examples:
      archipel ownership secret-order
      archipel ownership show secret-order --bundle release --json
      archipel ownership secret-order --ledger mirror --proofs proofs --holder did:key:z6Mk...
    """
    from archipel.lab.ownership_views import ownership_view

    owners = read_owners(run, place, bundle, with_proofs=proofs is not None)
    accountant, state = owners.accountant, owners.accountant.state
    view = ownership_view(state, state.runs[run], owners.last_ms, rows)
    facts: dict[str, Any] = view.model_dump(mode="json") | {
        "lab": state.lab,
        "agreed": accountant.is_agreed,
        "head": owners.checked.head.note.decode(),
        "opening": accountant.opening,
        "entries": dict(sorted(accountant.entries.items())),
    }
    if proofs is not None:
        with mending(OSError, ValueError):
            facts["proofs"] = _written(owners, proofs, holder, facts)
    show(facts, as_json, lambda: "\n".join(_lines(view, owners, proofs)))


def _written(owners: Owners, folder: Path, holder: str | None, facts: dict[str, Any]) -> int:
    """Proofs of the entries that count, and `ownership.json`; how many."""
    from archipel.ledger.merkle import inclusion_proof, nodes_from_leaves
    from archipel.ledger.proof_file import proof_text

    known, head = owners.accountant.entries, owners.checked.head
    if holder is not None and holder not in known:
        raise Mendable(f"{holder} holds nothing of this run; expected one of those that are shown")
    chosen = sorted(
        {*(known[holder] if holder else owners.counted), owners.accountant.opening or 0}
    )
    if len(chosen) > MAX_PROOFS:
        raise Mendable(
            f"{len(chosen)} entries count, and at most {MAX_PROOFS} proofs are written at a time; name one --holder"
        )
    node = nodes_from_leaves(owners.leaves)
    folder.mkdir(parents=True, exist_ok=True)
    for index in chosen:
        proof = inclusion_proof(index, head.size, node)
        (folder / f"{index}.tlog-proof").write_bytes(proof_text(index, proof, head.note))
        (folder / f"{index}.entry").write_bytes(owners.counted[index])
    (folder / "ownership.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return len(chosen)


def _lines(view: "OwnershipView", owners: Owners, proofs: Path | None) -> list[str]:
    accountant = owners.accountant
    lines = [f"{view.run}, by {counted(view.size, 'entry', 'entries')} of {accountant.state.lab}"]
    if not accountant.is_agreed:
        lines.append(
            "  opened without [charter]: nobody in this ledger owns it; by the default charter it would be"
        )
    elif view.is_divided:
        lines.append(f"  divided at entry {view.issued_entry}")
    else:
        lines.append(
            f"  not divided yet: {view.why_not or 'the first statement of an owner does it'}"
        )
    for each in view.holders:
        words = f"  {percent(each.units):>14}  {each.holder}"
        parts = [
            f"{credits_words(each.earned_micro)} earned" if each.earned_micro else "",
            f"{credits_words(each.funded_micro)} given" if each.funded_micro else "",
            f"votes by {each.trusts}" if each.trusts else "",
            f"{counted(len(accountant.entries[each.holder]), 'entry', 'entries')}"
            if each.holder in accountant.entries
            else "",
        ]
        told = "; ".join(part for part in parts if part)
        lines.append(f"{words}  {told}".rstrip())
    if view.num_holders > len(view.holders):
        lines.append(f"  and {view.num_holders - len(view.holders)} more (--rows)")
    if view.treasury_micro:
        lines.append(f"  the treasury has {credits_words(view.treasury_micro)}")
    lines += _served(view)
    running = sum(each.phase == "open" for each in view.votes)
    if running:
        lines.append(f"  {counted(running, 'vote')} open: archipel vote list {view.run}")
    if proofs is not None:
        lines.append(f"  proofs in {proofs}; check one with archipel ledger check-proof")
    return lines


def _served(view: "OwnershipView") -> list[str]:
    """What came in, where anybody's receipts count."""
    if not view.meters:
        return []
    paid = sum(each.paid_micro for each in view.meters)
    due = sum(each.due_micro for each in view.meters)
    meters = counted(len(view.meters), "meter")
    words = f"  earned by being served: {credits_words(paid)} of the {credits_words(due)} that receipts of {meters} come to"
    return [words]


@command.command()
@click.argument("run", shell_complete=run_names)
@click.argument("to", metavar="DID", type=KeyName())
@click.argument("units", metavar="SHARE", type=Share())
@KEY
@LAB
@JSON
def transfer(run: str, to: str, units: int, key: Path | None, lab_url: str, as_json: bool) -> None:
    """Give SHARE of RUN, of the whole and not of what you hold, to the holder DID; for good.

    \b
    Examples:
      archipel ownership transfer secret-order did:key:z6Mk... 2.5%
      archipel ownership transfer secret-order did:key:z6Mk... 1000000 --key holder.key --lab http://lab.example:8440
    """
    from archipel.records.ownership import ShareTransferred

    own = own_key(key)
    index = say(lab_url, own, ShareTransferred, run=run, to=to, units=units)
    facts = {"run": run, "from": own.did, "to": to, "units": units, "entry": index}
    show(facts, as_json, lambda: f"{percent(units)} of {run} to {to}, entry {index}")


@command.command()
@click.argument("run", shell_complete=run_names)
@click.argument("micro", metavar="CREDITS", type=Amount())
@KEY
@LAB
@JSON
def give(run: str, micro: int, key: Path | None, lab_url: str, as_json: bool) -> None:
    """Give CREDITS of your wallet to the treasury of RUN; its owners decide what becomes of them.

    \b
    Examples:
      archipel ownership give secret-order 0.5
      archipel ownership give secret-order 10 --key sponsor.key --lab http://lab.example:8440
    """
    from archipel.records.ownership import TreasuryGiven

    own = own_key(key)
    index = say(lab_url, own, TreasuryGiven, run=run, micro=micro)
    facts = {"run": run, "from": own.did, "micro": micro, "entry": index}
    text = f"{credits_words(micro)} to the treasury of {run}, entry {index}"
    show(facts, as_json, lambda: text)
