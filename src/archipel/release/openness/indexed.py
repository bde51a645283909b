"""A bundle's components, as its index names them, and their licences."""

from pathlib import Path
from typing import Final

from archipel.release import places
from archipel.release.index import Component, Released
from archipel.release.openness import mof
from archipel.release.openness.claims import NOBODY, Claim, Licensed, text_for

PART_OF: Final = {
    "architecture": mof.ARCHITECTURE,
    "parameters": mof.PARAMETERS,
    "versions": mof.INTERMEDIATE,
    "dataset": mof.DATASETS,
    "data_preprocessing": mof.PREPROCESSING,
    "training_code": mof.TRAINING_CODE,
    "inference_code": mof.INFERENCE_CODE,
    "evaluation_code": mof.EVALUATION_CODE,
    "evaluation_data": mof.EVALUATION_DATA,
    "evaluation_results": mof.RESULTS,
    "libraries": mof.LIBRARIES,
    "model_card": mof.CARD,
    "data_card": mof.DATA_CARD,
    "technical_report": mof.REPORT,
    "research_paper": mof.PAPER,
    "sample_outputs": mof.SAMPLES,
    "metadata": mof.METADATA,
    "recipe": mof.METADATA,
}
"""Kind of component -> name in the framework; tokenizer, environment and ledger have none there."""
NOT_GRADED: Final = frozenset({places.OPENNESS, places.SIGNATURE})
"""Written after the grade."""


def indexed(folder: Path, index: Released) -> list[Claim]:
    """Every component that the framework knows."""
    texts: dict[str, Licensed] = {}
    found = []
    for each in index.components:
        if each.kind in PART_OF:
            licence = _licence(folder, each, texts)
            kept = tuple(place for place in each.places if place not in NOT_GRADED)
            absent = [place for place in kept if not _is_there(folder / place)]
            why = tuple(
                f"{place:.200}: the index names it, and it is not there" for place in absent
            )
            found.append(Claim(PART_OF[each.kind], kept, licence, why))
    return found


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _licence(folder: Path, component: Component, texts: dict[str, Licensed]) -> Licensed:
    if component.licence is None:
        return NOBODY
    why: list[str] = []
    is_doubtful = False
    for spdx in component.licence.split(" AND "):
        place = f"{places.LICENCES}/{spdx}.txt"
        if spdx not in texts:
            there = _is_there(folder / place)
            texts[spdx] = (
                text_for(folder, place, spdx, "component")
                if there
                else Licensed(spdx, "component", why=(f"{place} is not in the bundle",))
            )
        is_doubtful |= texts[spdx].is_doubtful
        why.extend(texts[spdx].why)
    return Licensed(component.licence, "component", is_doubtful, tuple(why))
