"""`archipel grants show`: the pool and its grants, recomputed from the ledger."""

from typing import TYPE_CHECKING, Any

import click

from archipel.cli.credits import credits_words
from archipel.cli.doors import KeyName, show
from archipel.cli.lab_door import JSON
from archipel.cli.ledger_place import checked_ledger, ledger_options
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.lab.entry import Entry
    from archipel.records.grant_documents import GrantsView

DAY_MS = 86_400_000
PER_CENT = 10_000
"""Millionths."""


@click.command("show")
@click.option("--grantee", type=KeyName(), metavar="DID", help="Of this key alone.")
@click.option(
    "--rows",
    default=50,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Grantees and pledges shown.",
)
@ledger_options
@JSON
def show_(grantee: str | None, rows: int, as_json: bool, **place: Any) -> None:
    """The pool, its rule and its grants; recomputed here from the ledger, which is read and checked.

    \b
    Examples:
      archipel grants show
      archipel grants show --grantee did:key:z6Mk... --lab http://lab.example:8440 --json
    """
    from archipel.lab.apply import apply, begun
    from archipel.lab.grant_views import grants_view
    from archipel.lab.state import LabState

    state, last_ms = LabState(lab=""), 0

    def seen(entry: "Entry") -> None:
        nonlocal state, last_ms
        state = begun(state, entry.statement)
        state, last_ms = apply(state, entry.statement, entry.at_ms), entry.at_ms

    checked_ledger(**place, seen=seen)
    view = grants_view(state, last_ms, rows, grantee)
    show(view.model_dump(mode="json"), as_json, lambda: "\n".join(_lines(view)))


def _lines(view: "GrantsView") -> list[str]:
    lines = [
        f"the pool of {view.lab} holds {credits_words(view.pool_micro)}, by {counted(view.size, 'entry', 'entries')}"
    ]
    rule = view.rule
    if rule is None:
        lines.append("  no rule: nobody is given anything for asking")
    else:
        lines.append(
            f"  {credits_words(rule.person_micro)} a month to each person whom one of {counted(len(rule.verifiers), 'verifier')} "
            f"attests, for {rule.lasts_ms // DAY_MS} days; {credits_words(rule.grant_micro)} at most"
        )
        lines += [
            f"  verifier {did}: {credits_words(view.by_verifier.get(did, 0))} of {credits_words(rule.verifier_micro)} this month"
            for did in rule.verifiers
        ]
        lines += [f"  door {did}" for did in rule.doors]
        lines.append(
            f"  given in {view.month}: {credits_words(view.given_micro)} of {credits_words(rule.month_micro)}"
        )
    lines.append(
        f"  {counted(view.num_grantees, 'grantee')} with {credits_words(view.granted_micro)} left"
    )
    lines += [f"    {each.grantee}  {credits_words(each.left_micro)}" for each in view.grantees]
    lines += [
        f"  {did} pledges {parts / PER_CENT:g} % of its pay" for did, parts in view.pledges.items()
    ]
    return lines
