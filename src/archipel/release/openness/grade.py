"""The grade of a folder, from its bytes.

Laws: a component counts if it is present, its licence is open and fits its type, and no text says another thing than
the licence's name. This is stricter than the framework's tool, for which a licence of another type is a warning and
which looks at no byte; `osaid` and the framework's own rules (`mof`) are given what counts, and nothing else.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from archipel.records.canonical import sha256_digest
from archipel.release import places
from archipel.release.index import MAX_INDEX_BYTES, read_index
from archipel.release.openness import mof
from archipel.release.openness.card import (
    MAX_PLACES_NAMED,
    NOT_SHOWN,
    Classes,
    Grade,
    Have,
    Level,
    PartCard,
)
from archipel.release.openness.claims import Claim
from archipel.release.openness.data_files import read_some
from archipel.release.openness.holding import Holding, Looking, files_below
from archipel.release.openness.indexed import PART_OF, indexed
from archipel.release.openness.licences import terms
from archipel.release.openness.manifests import wrong_files
from archipel.release.openness.named import named
from archipel.release.openness.osaid import checklist

CAN_BE_REBUILT: Final = frozenset(
    {
        *(mof.PARAMETERS, mof.INTERMEDIATE, mof.RESULTS, mof.TRAINING_CODE, mof.INFERENCE_CODE),
        *(
            mof.EVALUATION_CODE,
            mof.PREPROCESSING,
            mof.DATASETS,
            mof.EVALUATION_DATA,
            mof.ARCHITECTURE,
        ),
    }
)
"""What a rebuild makes or runs; documents are read, not rebuilt."""
MAX_WHY = 40
Note = Callable[[str], None]


class CannotGrade(ValueError):
    """There is nothing here to grade; the message says what was found and what was expected."""


def grade(
    folder: Path, rebuilt: Mapping[str, bool] | None = None, note: Note = lambda _: None
) -> Grade:
    """How open the model in `folder` is: a bundle (release.json), or anybody's directory.

    rebuilt: kind of component (`index.Kind`) -> was all of it made again, and equal? None: nothing was rebuilt.
    note: told of each component before it is looked into.

    Raises:
        CannotGrade: no folder, its index is none, or it has more files than anybody looks through.
    """
    if not folder.is_dir() or folder.is_symlink():
        raise CannotGrade(f"{folder} is no folder; expected a release or a model directory")
    try:
        release, claims = _claims(folder)
        manifests = [each for each in files_below(folder, ".") if _is_manifest(each)]
    except (ValueError, OSError) as error:
        raise CannotGrade(f"{folder}: {error!s:.300}") from None
    wrong, _ = wrong_files(folder, manifests)
    looking = Looking(folder, wrong)
    cards = []
    for part in mof.PARTS:
        note(part)
        mine = [each for each in claims if each.part == part]
        cards.append(_card(part, mine, looking, _is_rebuilt(part, rebuilt)))
    return _graded(tuple(cards), release)


def _claims(folder: Path) -> tuple[str | None, list[Claim]]:
    index = folder / places.INDEX
    if index.is_symlink() or not index.exists():
        return None, named(folder)
    data, is_all = read_some(index, MAX_INDEX_BYTES)
    if not is_all:
        raise ValueError(f"{places.INDEX} is larger than {MAX_INDEX_BYTES} bytes")
    return sha256_digest(data), indexed(folder, read_index(data))


def _is_manifest(place: str) -> bool:
    name = place.rsplit("/", 1)[-1].lower()
    return name.startswith("croissant") and name.endswith((".json", ".jsonld"))


def _is_rebuilt(part: str, rebuilt: Mapping[str, bool] | None) -> bool:
    if rebuilt is None or part not in CAN_BE_REBUILT:
        return False
    told = [rebuilt[kind] for kind, name in PART_OF.items() if name == part and kind in rebuilt]
    return bool(told) and all(told)


def _card(part: str, claims: list[Claim], looking: Looking, is_rebuilt: bool) -> PartCard:
    """Of one component; several claims of it (two data sets) stand or fall together."""
    held = [looking.hold(part, each.places) for each in claims]
    is_present = bool(held) and all(map(_is_whole, claims, held))
    licences = [each.licence for each in claims]
    spdx = _joined(each.spdx for each in licences)
    known = terms(spdx) if spdx is not None and all(each.spdx for each in licences) else None
    is_open = known is not None and known.is_open
    fits = known is not None and bool(known.types & mof.PARTS[part].accepts)
    why = [text for each in claims for text in each.why]
    why += [text for each in held for text in each.why] + [
        text for each in licences for text in each.why
    ]
    why += _about_licence(part, spdx, is_open, fits) if claims else []
    level: Level = "absent" if not claims else "present" if is_present else "stated"
    files = sorted({file for each in held for file in each.files})
    is_doubtful = any(each.is_doubtful for each in licences)
    return PartCard(
        component=part,
        type=mof.PARTS[part].type,
        of_class=mof.PARTS[part].of_class,
        is_required=mof.PARTS[part].is_required,
        level="reproduced" if is_present and is_rebuilt else level,
        counts=is_present and is_open and fits and not is_doubtful,
        licence=spdx,
        licence_from=licences[0].found if licences else "none",
        is_open=is_open,
        fits=fits,
        files=len(files),
        places=tuple(each[:500] for each in files[:MAX_PLACES_NAMED]),
        why=tuple(each[:500] for each in dict.fromkeys(why))[:MAX_WHY],
    )


def _is_whole(claim: Claim, held: Holding) -> bool:
    return held.is_present and not claim.why


def _joined(licences: Iterable[str | None]) -> str | None:
    """All that bind, each once."""
    parts = [part for each in licences if each is not None for part in each.split(" AND ")]
    return " AND ".join(dict.fromkeys(parts))[:500] or None


def _about_licence(part: str, spdx: str | None, is_open: bool, fits: bool) -> list[str]:
    if spdx is None:
        return ["no licence is stated for it, so nobody may use it"]
    if not is_open:
        return [f"{spdx:.200} is no open licence that is known here"]
    if not fits:
        wanted = " or ".join(sorted(mof.PARTS[part].accepts))
        return [f"{spdx:.200} is open, but not written for {wanted}"]
    return []


def _graded(cards: tuple[PartCard, ...], release: str | None) -> Grade:
    stated = {each.component: each.licence for each in cards if each.level != "absent"}
    present = {each.component: each.licence for each in cards if each.counts}
    reproduced = {
        each.component: each.licence
        for each in cards
        if each.counts and (each.level == "reproduced" or each.component not in CAN_BE_REBUILT)
    }
    reading = mof.evaluate(present)
    return Grade(
        of="directory" if release is None else "bundle",
        release=release,
        classes=Classes(
            stated=mof.evaluate(stated).best,
            present=reading.best,
            reproduced=mof.evaluate(reproduced).best,
        ),
        progress=tuple(
            Have(of_class=each, have=reading.classes[each].have, of=reading.classes[each].of)
            for each in (3, 2, 1)
        ),
        parts=cards,
        osaid=checklist({each.component: each for each in cards}),
        not_shown=NOT_SHOWN,
    )
