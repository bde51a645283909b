"""`archipel observe fetch`: new facts from public interfaces, politely, as a new snapshot."""

import datetime
from pathlib import Path
from typing import Any

import click

PLACES = ("huggingface", "epoch")


@click.command("fetch")
@click.option("--from", "place", type=click.Choice(PLACES), required=True, help="Whom to ask.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Snapshot to write: a new folder."
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=2_000,
    show_default=True,
    help="At most so many models, most downloaded first.",
)
@click.option("--base", metavar="URL", help="Another place that answers as the public one does.")
@click.option(
    "--pace",
    type=click.FloatRange(0.1, 60),
    default=1.0,
    show_default=True,
    help="Seconds from one request to the next.",
)
@click.option(
    "--within",
    type=click.FloatRange(1, 86_400),
    default=3_600.0,
    show_default=True,
    help="Seconds until it gives up; what came is kept.",
)
@click.option(
    "--onto",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Snapshot whose rows the new one has too; it stays as it is.",
)
@click.option(
    "--earlier",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="OUT.pages of an earlier fetch: unchanged pages do not come again.",
)
@click.option("--strict", is_flag=True, help="Refuse the whole if anything in it is refused.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(place: str, out: Path, as_json: bool, **asked: Any) -> None:  # fmt: skip
    """Fetch facts from a public interface and keep them as the snapshot OUT.

    One request a second, and as long a wait as the server asks for. Pages lie in OUT.pages as they came, each
    with its digest; after Ctrl-C, a crash or a server's refusal the same command goes on where it was.

    \b
    Examples:
      archipel observe fetch --from huggingface --limit 2000 --out hub-2026-11
      archipel observe fetch --from epoch --out epoch-2026-11 --earlier epoch-2026-10.pages
      archipel observe fetch --from huggingface --base http://127.0.0.1:8600 --out mirror-2026-11
    """
    from archipel.cli.doors import Mendable, mending, show
    from archipel.cli.observe_import import about, require_new, values_of, words_of
    from archipel.observatory.fetching.asking import CannotFetch
    from archipel.observatory.fetching.finishing import source_of, take_pages
    from archipel.observatory.fetching.journal import Begun, opened
    from archipel.observatory.fetching.patience import NoPatience
    from archipel.observatory.fetching.sources import PLACES as KNOWN
    from archipel.observatory.folder import read, write
    from archipel.observatory.importers.adding import added, told
    from archipel.observatory.importers.aliases import names_of
    from archipel.observatory.importers.taking import Taking

    now = datetime.datetime.now(datetime.UTC)
    day, known = now.date().isoformat(), KNOWN[place]
    start = known.start(asked["base"], asked["limit"])
    with mending(ValueError, OSError, CannotFetch, NoPatience):
        require_new(out)
        onto = read(asked["onto"]) if asked["onto"] is not None else None
        pages = out.with_name(f"{out.name}.pages")
        with opened(pages, Begun(what=place, url=start, limit=asked["limit"])) as journal:
            if not _fill(known, journal, day, asked):
                raise Mendable(
                    f"stopped after {len(journal.pages)} pages; the same command goes on"
                )
            latest = max(each.retrieved for each in journal.pages)
            source = source_of(journal, f"{place}-{latest}", known.title, known.licence)
            taking = Taking(source, names_of(place, onto), asked["strict"])
            take_pages(journal, taking)
            snapshot = added(taking, about(out, latest, now, onto))
            write(snapshot, out)
    outcome = {**values_of(told(taking), snapshot.digest, out), "pages": str(pages)}
    show(outcome, as_json, lambda: words_of(outcome))


def _fill(known: Any, journal: Any, day: str, asked: dict[str, Any]) -> bool:
    """Fetch what is missing; Ctrl-C ends it after the page at hand."""
    from urllib.parse import urlsplit

    from archipel.cli.doors import printable
    from archipel.cli.stopping import asked_to_stop
    from archipel.observatory.fetching.asking import Asking, address, client
    from archipel.observatory.fetching.pages import Fetching
    from archipel.observatory.fetching.patience import Patience

    address(journal.begun.url)
    hosts = known.hosts if asked["base"] is None else frozenset[str]()
    patience = Patience(pace_s=asked["pace"], deadline_s=asked["within"])
    with client() as http, asked_to_stop() as is_over:
        fetching = Fetching(
            known,
            Asking(http, hosts | {urlsplit(journal.begun.url).netloc}),
            patience,
            day,
            tell=lambda line: click.echo(printable(line), err=True),
            earlier=asked["earlier"],
            may_go_on=lambda: not is_over(),
        )
        return fetching.fill(journal)
