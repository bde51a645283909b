"""Model files of the public Model Openness Tool (mot.isitopen.ai, MIT): a class by our own reading of the framework.

Law: a file says what its authors claim; the class is what `release.openness.mof` makes of the claims. A model that
names its place on Hugging Face has that as its id.
"""

import re
from pathlib import Path
from typing import Any, Final

from archipel.observatory.importers.cells import BadCell, day
from archipel.observatory.importers.lines import BadTable
from archipel.observatory.importers.taking import Taking
from archipel.observatory.rows import UNKNOWN
from archipel.release.openness import mof
from archipel.release.openness.licences import terms
from archipel.release.openness.mot_file import BadModelFile, Claimed, read_model_file
from archipel.release.openness.plain_yaml import MAX_YAML_BYTES, read_plain_yaml

MAX_FILES = 20_000
_HUB = re.compile(
    r"(?:https://huggingface\.co/)?([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})/?", re.ASCII
)
_NO_MODELS: Final = ("collections/", "datasets/", "spaces/", "models/", "papers/")


def take(folder: Path, taking: Taking) -> None:
    """Take in every .yml and .yaml file directly in `folder`.

    Raises:
        BadTable: there is none, or there are too many; TooStrict: one was refused, and none may be.
    """
    paths = sorted(each for each in folder.iterdir() if each.suffix in (".yml", ".yaml"))
    if not 1 <= len(paths) <= MAX_FILES:
        raise BadTable(f"{len(paths)} .yml files in {folder}; expected 1 to {MAX_FILES}")
    for path in paths:
        taking.counted["lines"] += 1
        if path.is_symlink() or not path.is_file():
            taking.refuse(path.name, "no plain file")
            continue
        with path.open("rb") as file:
            take_file(file.read(MAX_YAML_BYTES + 1), path.name, taking)


def take_file(data: bytes, place: str, taking: Taking) -> None:
    """Take in one model file.

    Raises:
        TooStrict: it was refused, and none may be.
    """
    try:
        claimed = read_model_file(data)
        release: dict[str, Any] = read_plain_yaml(data)["release"]
        at = day(_text(release, "date"), taking.day)
    except (BadModelFile, BadCell) as error:
        taking.refuse(place, str(error))
        return
    facts = {"licence": claimed.global_licences.get("distribution", UNKNOWN)[:300]}
    producer = _text(release, "producer")
    maker = taking.organisation(producer, place) if producer else None
    makers = () if maker is None else (maker,)
    model = _model(claimed, release, place, taking, {**facts, "organisations": makers})
    if model is None:
        return
    at = taking.day if at == UNKNOWN else at
    grade = str(claimed.reading().best)
    taking.counted[f"class {grade}"] += 1
    taking.about("openness", "mof", model, place, scheme="mof", grade=grade, at=at)
    if mof.DATASETS in claimed.licences:
        taking.about(
            "disclosures",
            "training_data",
            model,
            place,
            about="training_data",
            answer="disclosed",
            at=at,
        )


def _model(
    claimed: Claimed, release: dict[str, Any], place: str, taking: Taking, facts: dict[str, Any]
) -> str | None:
    licence = claimed.licences.get(mof.PARAMETERS)
    is_open = licence is not None and terms(licence).is_open
    hub = hub_id(_text(release, "huggingface"))
    taking.counted["with a place on Hugging Face"] += hub is not None
    facts = {**facts, "access": "open" if is_open else UNKNOWN, "kind": UNKNOWN}
    if hub is None:
        return taking.model(claimed.name, place, **facts)
    return taking.model(hub, place, **{**facts, "id": hub, "name": claimed.name})


def hub_id(text: str) -> str | None:
    """`org/name` of an address on Hugging Face, or of that itself; None: it is no model's."""
    found = _HUB.fullmatch(text)
    return None if found is None or found[1].startswith(_NO_MODELS) else found[1]


def _text(release: dict[str, Any], key: str) -> str:
    value = release.get(key)
    return value.strip() if isinstance(value, str) else ""
