"""CITATION.cff: how to cite the model, in the Citation File Format 1.2.0. Pure.

The format's list of licences was closed in 2021: of licences that it does not have, the abstract tells.
"""

from typing import Final

from archipel.release.facts import Facts
from archipel.release.index import Released
from archipel.release.papers.wording import day_of, licence_of, number, title_of, yaml_value
from archipel.release.stated import Stated

CFF_LICENCES: Final = frozenset(
    [
        "AGPL-3.0-only",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC-BY-4.0",
        "CC-BY-NC-4.0",
        "CC-BY-SA-4.0",
        "CC0-1.0",
        "CDLA-Permissive-1.0",
        "CDLA-Sharing-1.0",
        "ECL-2.0",
        "EPL-2.0",
        "EUPL-1.2",
        "GPL-2.0-only",
        "GPL-2.0-or-later",
        "GPL-3.0-only",
        "GPL-3.0-or-later",
        "ISC",
        "LGPL-3.0-only",
        "LGPL-3.0-or-later",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "ODbL-1.0",
        "Unlicense",
        "Zlib",
    ]
)
"""Of the format's list, those that models and data are released under."""


def citation(facts: Facts, stated: Stated, index: Released | None) -> bytes:
    """The file."""
    last = facts.versions[-1]
    licence = licence_of("parameters", stated, index)
    known = licence in CFF_LICENCES
    lines = [
        "cff-version: 1.2.0",
        'message: "If you use this model, please cite it as below."',
        "type: software",
        f"title: {yaml_value(title_of(facts, stated))}",
        f"version: {yaml_value(str(last.number))}",
        f"date-released: {yaml_value(day_of(facts.last_ms))}",
        *([f"license: {licence}"] if known else []),
        *_address(stated),
        "authors:",
        *_authors(facts, stated),
        "identifiers:",
        "  - type: other",
        f"    value: {yaml_value(last.weights)}",
        '    description: "State digest of the weights"',
        "  - type: other",
        f"    value: {yaml_value(facts.tree_root)}",
        f'    description: "Root of the ledger of {facts.tree_size} entries that the model was made by"',
        "keywords:",
        "  - language model",
        "  - reinforcement learning",
        f"abstract: {yaml_value(_abstract(facts, licence))}",
    ]
    return ("\n".join(lines) + "\n").encode()


def _authors(facts: Facts, stated: Stated) -> list[str]:
    """As stated; entities, because nothing tells a family name; else the run's contributors together."""
    named = stated.authors or (f"Contributors of the run {facts.run}",)
    return [f"  - name: {yaml_value(each)}" for each in named]


def _address(stated: Stated) -> list[str]:
    address = stated.address or ""
    is_plain = address.startswith(("https://", "http://")) and " " not in address
    return [f"url: {yaml_value(address)}"] if is_plain else []


def _abstract(facts: Facts, licence: str | None) -> str:
    return (
        f"A language model of {number(facts.parameters)} parameters, made by {number(len(facts.parties))} parties in the run "
        f"{facts.run} of the lab {facts.lab}. Licence: {licence or 'not stated'}."
    )
