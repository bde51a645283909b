"""`archipel release verify`: a bundle looked at by somebody who believes nobody."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import Mendable, mending, printable, show
from archipel.cli.lab_door import EXPECT, JSON
from archipel.cli.release_asked import expected_key
from archipel.cli.telling import seldom
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.release.verify.report import Expected, Report


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@EXPECT
@click.option(
    "--key",
    metavar="PEM|HINT",
    help="Whose signature is expected: a file with a public key, or its 64 hexadecimal digits.",
)
@click.option(
    "--witness",
    "witnesses",
    multiple=True,
    metavar="KEY",
    help="Key line of a witness whose signature must be there; may be given several times.",
)
@JSON
def command(
    folder: Path, expect: str | None, key: str | None, witnesses: tuple[str, ...], as_json: bool
) -> None:
    """Check a release, step by step: signature, every file, the ledger and every transition in it, the weights.

    Needs neither a network nor a tensor library. The last step says what none of this shows. Exit code 1:
    something does not hold, and the file is named.

    \b
    Examples:
      archipel release verify bundle
      archipel release verify bundle --expect did:key:z6Mk... --key release.pem --json
    """
    from archipel.cli.quick_differences import decode
    from archipel.ledger.signed_note import BadNote
    from archipel.release.oms.statement import BadOms
    from archipel.release.verify.files import NoBundle
    from archipel.release.verify.looking import verify

    if folder.is_symlink() or not folder.is_dir():
        raise Mendable(f"{folder} is no folder; name the one that `archipel release make` wrote")
    with mending(NoBundle, BadNote, BadOms, OSError):
        report = verify(folder, _expected(expect, key, witnesses), seldom(), decode())
    show(report.to_dict(), as_json, lambda: printable("\n".join(_lines(report))))
    if not report.holds:
        num = sum(1 for _ in report.faults)
        raise Mendable(
            f"{counted(num, 'thing')} of {folder} {'does' if num == 1 else 'do'} not hold"
        )


def _expected(lab: str | None, key: str | None, witnesses: tuple[str, ...]) -> "Expected":
    from archipel.release.verify.report import Expected

    hint, pem = expected_key(key)
    return Expected(lab, hint, pem, witnesses)


def _lines(report: "Report") -> Iterator[str]:
    index = report.index
    if index is not None:
        yield f"{index.title}: version {index.version} of run {index.run}, by {index.lab}"
    for step in report.steps[:-1]:
        yield f"{step.number}. {step.name}: {step.outcome}"
        yield from (f"     {line}" for line in step.shown)
        yield from (f"     DOES NOT HOLD: {line}" for line in step.faults)
    last = report.steps[-1]
    yield f"{last.number}. {last.name}:"
    yield from (f"     {line}" for line in last.unshown)
    yield "everything that was looked at holds" if report.holds else "it does not hold"
