"""`archipel observe import`: others' tables and lists as a new snapshot."""

import datetime
from pathlib import Path
from typing import Any

import click

FORMS = ("epoch", "mot", "benchmarks", "leaderboard", "huggingface")


@click.command("import")
@click.argument("form", metavar="FORM", type=click.Choice(FORMS))
@click.argument("path", metavar="PATH", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Snapshot to write: a new folder."
)
@click.option(
    "--onto",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Snapshot whose rows the new one has too; it stays as it is.",
)
@click.option(
    "--read-on", metavar="DAY", help="Day on which the file was had from its source [today]."
)
@click.option("--source-id", metavar="ID", help="What rows call their source [FORM-DAY].")
@click.option("--title", help="What the source is called [what that form usually is].")
@click.option("--url", help="Where the source is [where that form usually is].")
@click.option("--licence", help="Of the source, as SPDX writes it [that form's usual one].")
@click.option(
    "--aliases",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table kind,name,id: names that are known models or organisations.",
)
@click.option(
    "--leaderboard",
    metavar="WORD",
    default="arena",
    show_default=True,
    help="Which leaderboard it is.",
)
@click.option("--strict", is_flag=True, help="Refuse the whole if anything in it is refused.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(form: str, path: Path, out: Path, as_json: bool, **asked: Any) -> None:  # fmt: skip
    """Take in the file or folder PATH as a new snapshot.

    \b
    FORM is one of
      epoch        Epoch AI's table of models (CSV)
      mot          a folder of model files of the Model Openness Tool (YAML)
      benchmarks   models with a day, open or closed, a column a benchmark (CSV)
      leaderboard  model, rank or score, maker, licence (CSV)
      huggingface  models as Hugging Face's API lists them (JSON, or one a line)

    What cannot be read is left out, counted, and listed with its line and the reason. A name is a known model
    only if it is the same id, or if --aliases or the snapshot's own aliases say so.

    \b
    Examples:
      archipel observe import epoch all_ai_models.csv --read-on 2026-04-01 --out epoch-2026-04
      archipel observe import mot models --onto epoch-2026-04 --out both --aliases same.csv
      archipel observe import leaderboard arena.csv --leaderboard arena_text --out arena-2026-11 --strict
    """
    from archipel.cli.doors import at_work, mending, show
    from archipel.observatory.folder import read, write
    from archipel.observatory.importers.adding import added, told
    from archipel.observatory.importers.aliases import names_of, read_aliases
    from archipel.observatory.importers.formats import FORMATS, take_path
    from archipel.observatory.importers.taking import Taking
    from archipel.observatory.manifest import Source

    now = datetime.datetime.now(datetime.UTC)
    day, usual = asked["read_on"] or now.date().isoformat(), FORMATS[form]
    with mending(ValueError, OSError):
        require_new(out)
        source = Source(
            id=asked["source_id"] or f"{form}-{day}",
            title=asked["title"] or usual.title,
            url=asked["url"] or usual.url,
            retrieved=day,
            hand="read",
            licence=asked["licence"] or usual.licence,
        )
        at_work(f"reading {path}")
        onto = read(asked["onto"]) if asked["onto"] is not None else None
        said = _said(asked["aliases"], read_aliases)
        taking = Taking(source, names_of(form, onto, said), asked["strict"])
        take_path(form, path, taking, asked["leaderboard"])
        snapshot = added(taking, about(out, day, now, onto), said)
        write(snapshot, out)
    outcome = values_of(told(taking), snapshot.digest, out)
    show(outcome, as_json, lambda: words_of(outcome))


def _said(path: Path | None, read_aliases: Any) -> Any:
    if path is None:
        return ()
    with path.open("rb") as file:
        return read_aliases(file)


def require_new(out: Path) -> None:
    """Nothing stands at `out` yet.

    Raises:
        ValueError: something does.
    """
    if out.exists() or out.is_symlink():
        raise ValueError(
            f"{out} is there already, and a snapshot is never written over; name a new folder"
        )


def about(out: Path, day: str, now: datetime.datetime, onto: Any) -> Any:
    """What a new snapshot says of itself: its folder's name, and the latest day of what it holds."""
    from archipel.observatory.importers.cells import slug
    from archipel.observatory.snapshot import About

    latest = max(day, onto.manifest.day) if onto is not None else day
    name = slug(out.name).replace("+", "-")[:64] or "snapshot"
    return About(name, latest, int(now.timestamp() * 1000), ())


def values_of(told: Any, digest: str, out: Path) -> dict[str, Any]:
    """What came of it, for machines."""
    return {
        "out": str(out),
        "digest": digest,
        "counted": told.counted,
        "rows": told.rows,
        "num_refused": told.num_refused,
        "refused": [{"place": each.place, "why": each.why} for each in told.refused],
        "unused_columns": list(told.unused),
    }


def words_of(values: dict[str, Any]) -> str:
    """What came of it, for people."""
    from archipel.cli.doors import printable

    counted = values["counted"]
    lines = [
        f"{values['out']}: {', '.join(f'{count} {name}' for name, count in values['rows'].items()) or 'no rows'}",
        f"{counted.get('lines', 0)} read, {values['num_refused']} refused, "
        f"{counted.get('joined', 0)} joined to known models, {counted.get('apart', 0)} by themselves",
        *(f"  {each['place']}: {each['why']}" for each in values["refused"][:20]),
    ]
    if len(values["refused"]) > 20:
        lines.append(f"  ... and {values['num_refused'] - 20} more: --json has them")
    if values["unused_columns"]:
        lines.append(f"nothing was taken from: {', '.join(values['unused_columns'])}")
    return printable("\n".join([*lines, f"digest {values['digest']}"]))
