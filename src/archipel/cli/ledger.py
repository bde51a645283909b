"""`archipel ledger`: replay and verify a lab's ledger."""

from pathlib import Path

import click

from archipel.cli.doors import home_folder, mending, show


@click.group()
def command() -> None:
    """Replay and verify a lab's ledger."""


@command.command()
@click.option("--home", type=click.Path(path_type=Path), help="The lab's folder [~/.archipel/lab].")
@click.option("--ledger", metavar="URL", help="postgresql://... or a file [HOME/ledger.sqlite].")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def replay(home: Path | None, ledger: str | None, as_json: bool) -> None:
    """Recompute everything from the entries: tree heads, signatures, runs, balances.

    Shown: every entry is signed by its author, in the order the lab's tree heads cover, and adds up to
    these balances. Not shown: that the lab showed everybody this same ledger.

    \b
    Examples:
      archipel ledger replay
      archipel ledger replay --home /srv/lab --json
    """
    from archipel.identity import Identity, IdentityError
    from archipel.lab.lab import replay as fold
    from archipel.ledger.location import read_log
    from archipel.ledger.signed_note import NoteKey
    from archipel.ledger.storage import LedgerError

    folder = home_folder("lab", home)
    with mending(IdentityError, LedgerError, OSError, ValueError):
        identity = Identity.load(folder / "lab.key")
        origin = f"archipel.lab/{identity.did.rsplit(':', 1)[-1]}"
        log = read_log(ledger or folder / "ledger.sqlite", NoteKey(origin, identity.public_key))
        heads = log.verify()
        state = fold(identity.did, log)
    versions = {name: run.version for name, run in state.runs.items()}
    result = {
        "entries": log.size,
        "tree_heads": heads,
        "runs": versions,
        "balances_micro": dict(state.balances),
        "sum_micro": sum(state.balances.values()),
    }

    def text() -> str:
        lines = [f"{log.size} entries under {heads} signed tree heads: all hold"]
        lines += [f"run {name}: version {version}" for name, version in versions.items()]
        lines += [
            f"{did}  {micro / 1e6:+.6f} credits" for did, micro in sorted(state.balances.items())
        ]
        return "\n".join([*lines, f"balances add up to {result['sum_micro']} micro-credits"])

    show(result, as_json, text)
