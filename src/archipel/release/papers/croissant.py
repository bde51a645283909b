"""data/croissant.json: the data as Croissant 1.1 describes data sets, so that others' loaders and catalogues read it. Pure.

Only what lies in the bundle is a file of it; what is generated from a seed, and what is not included, is described.
"""

import posixpath
from typing import Any, Final

from archipel.release.facts import DataFact, Facts
from archipel.release.index import Released
from archipel.release.papers.tables import licence_of_data
from archipel.release.papers.wording import (
    day_of,
    hex_of,
    json_paper,
    number,
    one_line,
    title_of,
)
from archipel.release.places import CROISSANT
from archipel.release.stated import Stated

CONFORMS_TO: Final = "http://mlcommons.org/croissant/1.1"
CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""As the specification prints it."""
FORMATS: Final = {
    ".jsonl": "application/jsonlines",
    ".json": "application/json",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".toml": "application/toml",
    ".parquet": "application/x-parquet",
}
"""By the ending of a file; all others are octets."""


def croissant(facts: Facts, stated: Stated, index: Released | None) -> bytes:
    """The description of all data of the run as one data set."""
    _ = index  # a data set is what the ledger and its owner say
    licences = sorted(
        {each for data in facts.data if (each := licence_of_data(data, stated)) is not None}
    )
    files = [
        _file(each, stated)
        for each in facts.data
        if each.place is not None and each.digest is not None
    ]
    whole: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": f"{facts.run}-data",
        "alternateName": f"Data of {title_of(facts, stated)}",
        "description": _description(facts),
        "conformsTo": CONFORMS_TO,
        "license": [_address(each) for each in licences],
        "url": _url(facts, stated),
        "version": f"{facts.versions[-1].number}.0.0",
        "datePublished": day_of(facts.last_ms),
        "isLiveDataset": False,
        "citeAs": f"The data of the run {facts.run}, ledger root {facts.tree_root}",
        "creator": [_person(each) for each in stated.authors]
        or [_person(f"Contributors of the run {facts.run}")],
        "distribution": files,
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"run {facts.run}, recipe {facts.recipe_digest}",
        },
    }
    if stated.personal_data is not None:
        whole["rai:personalSensitiveInformation"] = one_line(stated.personal_data)
    return json_paper({key: value for key, value in whole.items() if value != []})


def _description(facts: Facts) -> str:
    """Every source in one sentence each, those without a file in this release, too."""
    said = [
        f"{one_line(each.name)} ({each.kind}): {number(each.count)} items, {number(each.tokens)} tokens, "
        f"digest {each.digest or 'unknown'}{'' if each.place else ', no file of this release'}."
        for each in facts.data
    ]
    return " ".join([f"What shaped the weights of the run {facts.run}.", *said])


def _file(data: DataFact, stated: Stated) -> dict[str, Any]:
    place, digest = data.place or "", data.digest or ""
    ending = posixpath.splitext(place)[1]
    found: dict[str, Any] = {
        "@type": "cr:FileObject",
        "@id": place,
        "name": place,
        "description": one_line(data.name),
        "contentUrl": posixpath.relpath(place, posixpath.dirname(CROISSANT)),
        "encodingFormat": FORMATS.get(ending, "application/octet-stream"),
        "sha256": hex_of(digest),
    }
    if data.size_bytes is not None:
        found["contentSize"] = f"{data.size_bytes} B"
    if data.source is not None:
        found["prov:wasDerivedFrom"] = one_line(data.source)
    licence = licence_of_data(data, stated)
    if licence is not None:
        found["license"] = _address(licence)
    return found


def _address(licence: str) -> str:
    """Of a licence of one id, where SPDX shows it; an expression of several stays one."""
    return licence if " " in licence else f"https://spdx.org/licenses/{licence}"


def _url(facts: Facts, stated: Stated) -> str:
    address = stated.address or ""
    return address if address.startswith(("https://", "http://")) else f"urn:archipel:{facts.lab}"


def _person(name: str) -> dict[str, str]:
    return {"@type": "sc:Organization", "name": one_line(name)}
