"""All papers of a release at once: what lies where."""

from collections.abc import Mapping
from typing import Final

from archipel.identity import Identity
from archipel.release import places
from archipel.release.facts import Facts
from archipel.release.index import Released
from archipel.release.papers.citation import citation
from archipel.release.papers.croissant import croissant
from archipel.release.papers.data_card import data_card
from archipel.release.papers.eu_summary import eu_summary
from archipel.release.papers.model_card import model_card
from archipel.release.papers.slsa import attested, provenance
from archipel.release.papers.spdx import spdx
from archipel.release.papers.technical_report import technical_report
from archipel.release.stated import Stated

PAPERS: Final = {
    places.CARD: model_card,
    places.CITATION: citation,
    places.CROISSANT: croissant,
    places.DATA_CARD: data_card,
    places.EU_SUMMARY: eu_summary,
    places.REPORT: technical_report,
    places.SBOM: spdx,
}
"""Place in the bundle -> what writes it from facts, the owner's words and the index."""


def written(
    facts: Facts, stated: Stated, index: Released, operator: Identity | None = None
) -> Mapping[str, bytes]:
    """Place -> bytes of every paper, and a statement for each stage.

    operator: who answers for the statements, each then also as an envelope beside it; None: nobody does, and the
    release's own signature is all that covers them.
    """
    found = {place: write(facts, stated, index) for place, write in PAPERS.items()}
    for place, statement in provenance(facts, stated, index).items():
        found[place] = statement
        if operator is not None:
            found[f"{place.removesuffix('.json')}.dsse.json"] = attested(statement, operator)
    return found
