"""`archipel trace`: who and what shaped a release's weights, and what of an answer stands in its training data."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, mending, show
from archipel.cli.lab_door import EXPECT, JSON
from archipel.cli.telling import seldom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from archipel.release.trace.lineage import Ancestor
    from archipel.release.trace.shares import Shares
    from archipel.release.trace.told import Told

MAX_ROWS = 10_000
MAX_STDIN_BYTES = 1024 * 1024
MAX_SECRET_BYTES = 64 * 1024
PICTURES = (".svg", ".png")
CAUSES = "This is accounting, not causation"


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--answer",
    metavar="TEXT|-",
    help="Look up what of this text stands verbatim in the training data; - reads it from standard input.",
)
@click.option(
    "--least",
    default=20,
    show_default=True,
    type=click.IntRange(1, 65_536),
    help="Characters of the shortest span.",
)
@click.option(
    "--most",
    default=10,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Spans shown, the rarest first.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the index of the training data is kept [beside DIR, as DIR.trace].",
)
@click.option(
    "--parent",
    "parents",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Release of a model that this one was made from, followed and checked; may be given several times.",
)
@click.option(
    "--grade",
    is_flag=True,
    help="Grade what was sampled again, which tells each share of the gradient; loads torch.",
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Of --grade: the verifier's secret [the one in the release, if it was given away].",
)
@click.option(
    "--proofs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write every entry that is named, with the proof that it stands in the ledger, into this folder.",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the shares: a file.svg or a file.png.",
)
@click.option(
    "--rows",
    default=20,
    show_default=True,
    type=click.IntRange(1, MAX_ROWS),
    help="Lines shown of each kind.",
)
@EXPECT
@JSON
def command(folder: Path, answer: str | None, as_json: bool, **given: Any) -> None:
    """Say which data, environments, operators and machines shaped the weights of the release in DIR, and in which shares.

    Each line names the entries of the ledger in DIR that say it; all of them are checked first, offline. With --answer:
    which parts of a text stand verbatim in its training data. Both are accounting, not causation: that a model would
    be another without a part of it is not shown.

    \b
    Examples:
      archipel trace bundle
      archipel trace bundle --grade --proofs proofs --picture shares.svg
      archipel trace bundle --parent base --json
      archipel trace bundle --answer "what a model said"
    """
    if folder.is_symlink() or not folder.is_dir():
        raise Mendable(f"{folder} is no folder; name the one that `archipel release make` wrote")
    if answer is None:
        _shares(folder, as_json, given)
        return
    if given["grade"] or given["proofs"] or given["picture"] or given["parents"]:
        raise click.UsageError(
            "--answer looks a text up; leave --grade, --proofs, --picture and --parent out"
        )
    from archipel.cli.trace_answer import look_up

    text = answer
    if answer == "-":
        data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
        if len(data) > MAX_STDIN_BYTES:
            raise Mendable(f"more than {MAX_STDIN_BYTES} bytes on standard input; send less")
        with mending(UnicodeDecodeError):
            text = data.decode().removesuffix("\n")
    look_up(folder, text, as_json, given)


def _shares(folder: Path, as_json: bool, given: dict[str, Any]) -> None:
    from archipel.ledger.merkle import BadProof
    from archipel.ledger.storage import LedgerError
    from archipel.release.trace.gradient import HOW
    from archipel.release.trace.lineage import kin_of, lineage_of
    from archipel.release.trace.proving import write_proofs
    from archipel.release.trace.shares import shares_of
    from archipel.release.trace.told import look
    from archipel.release.verify.report import Expected

    picture, proofs, tell = given["picture"], given["proofs"], seldom()
    if picture is not None and picture.suffix not in PICTURES:
        raise click.UsageError(
            f"{picture} is no picture; expected a name that ends with .svg or .png"
        )
    with mending(BadProof, LedgerError, OSError, ValueError):
        told = look(folder, Expected(given["expect"]), tell)
        weights = _weights(told, given["secret_file"]) if given["grade"] else None
        shares = shares_of(told, weights, "rewards are not in the bundle; --grade computes them")
        lineage = lineage_of(told, kin_of(given["parents"], tell))
        named = {entry for line in shares.lines for entry in line.entries}
        named |= {entry for each in lineage for entry in each.entries}
        written = None if proofs is None else write_proofs(told, named, proofs)
        if picture is not None:
            _draw(told, shares, lineage, picture)
    index, head = told.index, told.head
    facts = {
        "bundle": str(folder),
        "title": index.title,
        "run": index.run,
        "lab": index.lab,
        "version": index.version,
        "weights": index.weights,
        "head": head.note.decode(),
        "shares": shares.to_dict(),
        "how": HOW,
        "lineage": [each.to_dict() for each in lineage],
        "proofs": written,
        "is": CAUSES,
    }

    def text() -> str:
        from archipel.cli.trace_words import lines

        return "\n".join(lines(told, shares, lineage, given["rows"], proofs))

    show(facts, as_json, text)


def _weights(told: "Told", secret_file: Path | None) -> dict[int, float]:
    from archipel.cli.trace_grading import graded_weights
    from archipel.release.places import GIVEN_AWAY
    from archipel.release.verify.files import read_bounded
    from archipel.training.grading import GraderUnavailable

    secret = None
    if secret_file is not None:
        secret = read_bounded(secret_file.resolve(), MAX_SECRET_BYTES)
    elif GIVEN_AWAY in told.files:
        secret = read_bounded(told.folder / GIVEN_AWAY, MAX_SECRET_BYTES)
    with mending(GraderUnavailable):
        return graded_weights(told, secret)


def _draw(told: "Told", shares: "Shares", lineage: "Sequence[Ancestor]", path: Path) -> None:
    from archipel.release.trace.picture import SAID, bars_of, said_of, svg

    title = f"{told.index.title}: version {told.index.version} of {told.index.run}"
    bars, lines = bars_of(shares), said_of(lineage)
    if path.suffix == ".svg":
        path.write_bytes(svg(title, bars, lines))
        return
    from archipel.curves.bars import draw_bars

    draw_bars(title, [(bar.name, bar.parts) for bar in bars], [*lines, SAID], path)
