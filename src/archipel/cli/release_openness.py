"""`archipel release openness`: the class of a model, from the bytes of its folder or from what its authors say."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, at_work, mending, printable, show
from archipel.cli.lab_door import JSON
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.release.openness.card import Grade

MAX_MODEL_FILES = 10_000
CLASSES = {"III": 3, "II": 2, "I": 1}


@click.command()
@click.argument("place", metavar="DIR | FILE.yml", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--all", "all_files", is_flag=True, help="DIR holds model files of the openness tool."
)
@click.option(
    "--rebuilt",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="What a rebuild of this release made again.",
)
@click.option(
    "--card",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the grade here as a document.",
)
@click.option(
    "--at-least",
    type=click.Choice(list(CLASSES)),
    help="End with 1 if the class is lower.",
)
@JSON
def command(
    place: Path,
    all_files: bool,
    rebuilt: Path | None,
    card: Path | None,
    at_least: str | None,
    as_json: bool,
) -> None:
    """How open a model is: its class in the Model Openness Framework, and the Open Source AI Definition's checklist.

    DIR is a release or any model directory: a component counts if its bytes are there and parse, under an open
    licence that fits its type and whose text says the same. Nothing is run or fetched. FILE.yml is a model file of
    the public openness tool: claims, graded as claims.

    \b
    Examples:
      archipel release openness bundle
      archipel release openness ~/models/somebody-elses --json
      archipel release openness bundle --rebuilt rebuilt.json --at-least I
      archipel release openness OLMo-7B.yml
      archipel release openness models --all
    """
    if place.is_dir() and not all_files:
        found, text = _folder(place, rebuilt, card)
        best = found["classes"]["present"]
    elif rebuilt is not None or card is not None:
        raise click.UsageError("--rebuilt and --card go with a model's folder")
    elif place.is_dir():
        found, text = _table(place)
        best = min((each["class"] for each in found["models"]), key=_rank)
    else:
        found, text = _claims(place)
        best = found["class"]
    show(found, as_json, lambda: printable("\n".join(text)))
    if at_least is not None and _rank(best) < _rank(CLASSES[at_least]):
        raise Mendable(f"the class is lower than {at_least}; what does not count says why")


def _rank(of_class: int) -> int:
    """0 for none, 3 for the highest."""
    return 4 - of_class if of_class else 0


def _folder(place: Path, rebuilt: Path | None, card: Path | None) -> tuple[Any, list[str]]:
    from archipel.release.openness.grade import CannotGrade, grade
    from archipel.release.openness.wording import told

    with mending(CannotGrade, OSError):
        kinds = _rebuilt(rebuilt, place) if rebuilt is not None else None
        made: Grade = grade(place, kinds, lambda part: at_work(part.lower()))
        if card is not None:
            card.write_bytes(made.to_bytes())
    return made.model_dump(mode="json"), told(made, kinds is not None)


def _rebuilt(path: Path, place: Path) -> Mapping[str, bool]:
    """Of this release.

    Raises:
        Mendable: the file is none, or speaks of another release.
    """
    from archipel.records.canonical import sha256_digest
    from archipel.release.openness.data_files import read_some
    from archipel.release.openness.rebuilt import MAX_REBUILT_BYTES, read_rebuilt
    from archipel.release.places import INDEX

    try:
        said = read_rebuilt(read_some(path, MAX_REBUILT_BYTES + 1)[0])
        mine = sha256_digest((place / INDEX).read_bytes())
    except ValueError as error:
        raise Mendable(f"{path} is no rebuild's report: {error!s:.200}") from None
    if said.release != mine:
        raise Mendable(f"{path} speaks of release {said.release}; {place} is {mine}")
    return {str(kind): is_equal for kind, is_equal in said.kinds.items()}


def _claims(path: Path) -> tuple[Any, list[str]]:
    from archipel.release.openness.data_files import read_some
    from archipel.release.openness.mot_file import BadModelFile, read_model_file
    from archipel.release.openness.plain_yaml import MAX_YAML_BYTES
    from archipel.release.openness.wording import told_of_claims

    try:
        claimed = read_model_file(read_some(path, MAX_YAML_BYTES + 1)[0])
    except (BadModelFile, OSError) as error:
        raise Mendable(f"{path}: {error}") from None
    reading = claimed.reading()
    progress = {str(each): reading.percent(each) for each in reading.classes}
    found = {
        "name": claimed.name,
        "class": reading.best,
        "progress": progress,
        "missing": list(reading.classes[1].missing),
        "unlicensed": list(reading.unlicensed),
        "invalid": list(reading.invalid),
        "unfit": list(reading.unfit),
    }
    return found, told_of_claims(claimed)


def _table(folder: Path) -> tuple[Any, list[str]]:
    """Every model file of a folder, and how many are of which class."""
    from archipel.release.openness.wording import ROMAN

    files = sorted(each for each in folder.iterdir() if each.suffix in {".yml", ".yaml"})
    if not 0 < len(files) <= MAX_MODEL_FILES:
        raise Mendable(f"{folder} has {len(files)} model files; expected 1 to {MAX_MODEL_FILES}")
    at_work(f"grading {counted(len(files), 'model file')}")
    rows = [_claims(each)[0] for each in files]
    rows.sort(key=lambda row: (-_rank(row["class"]), row["name"]))
    totals = Counter(row["class"] for row in rows)
    text = [
        f"{ROMAN[row['class']]:5} {row['progress']['3']:4.0f} % of III  {row['name']}"
        for row in rows
    ]
    counts = ", ".join(f"{totals[each]} in class {ROMAN[each]}" for each in (1, 2, 3))
    text += ["", f"{counts}, {totals[0]} unclassified, of {counted(len(rows), 'model')}"]
    return {"models": rows, "classes": {str(each): totals[each] for each in (1, 2, 3, 0)}}, text
