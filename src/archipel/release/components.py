"""Which files of a bundle are which component, and under which licence. Pure.

Law: this software's own parts are under its licence; of everything else the owner states one, or nobody does.
"""

from collections.abc import Iterable, Mapping

from archipel.release import places
from archipel.release.contents import Contents
from archipel.release.facts import Facts
from archipel.release.index import Component, Kind, Released
from archipel.release.stated import Stated

OWN_LICENCE = "Apache-2.0"
MAX_PLACES = 10_000
_OWN: tuple[tuple[Kind, str], ...] = (
    ("data_preprocessing", "how tasks and examples become batches"),
    ("training_code", "updates, supervised stage, and the lab that paces them"),
    ("inference_code", "engine and server"),
    ("evaluation_code", "grading and evaluation"),
)
_PAPERS: tuple[tuple[Kind, str, tuple[str, ...]], ...] = (
    ("model_card", "model card", (places.CARD,)),
    ("data_card", "data card", (places.DATA_CARD,)),
    ("technical_report", "technical report", (places.REPORT,)),
    (
        "metadata",
        "bill of materials, provenance, citation, summary of training content",
        (places.SBOM, places.PROVENANCE, places.CITATION, places.EU_SUMMARY, places.OPENNESS),
    ),
)


def index_of(facts: Facts, stated: Stated, made: Contents, papers: Iterable[str]) -> Released:
    """The index of a bundle with these contents; papers: places of what is written besides."""
    last, there = facts.versions[-1], {*made.files, *papers}
    return Released(
        title=stated.title or facts.run,
        run=facts.run,
        lab=facts.lab,
        origin=facts.origin,
        tree_size=facts.tree_size,
        tree_root=facts.tree_root,
        version=last.number,
        weights=last.weights,
        at_ms=facts.last_ms,
        components=tuple(_components(stated, made, there)),
        missing=tuple(sorted(made.missing)),
        blobs=tuple(made.blobs[digest] for digest in sorted(made.blobs)),
    )


def _components(stated: Stated, made: Contents, there: set[str]) -> Iterable[Component]:
    root = sorted(place for place in there if "/" not in place)
    archive = sorted(place for place in there if place.startswith(f"{places.CODE}/"))
    weights = [
        place for place in root if place.endswith((".safetensors", ".safetensors.index.json"))
    ]
    words = [
        place
        for place in root
        if place.startswith(("tokenizer", "special_tokens", "vocab", "merges", "chat_template"))
    ]
    config = [
        place
        for place in root
        if place in ("config.json", "generation_config.json", "adapter_config.json")
    ]
    licences = stated.licences

    def part(
        kind: Kind, name: str, found: list[str], own: str | None = None
    ) -> Iterable[Component]:
        if found:
            given = own or licences.get(kind, licences.get("default"))
            yield Component(kind=kind, name=name, places=_few(found), licence=given)

    yield from part("architecture", "network and its configuration", archive + config, OWN_LICENCE)
    yield from part("parameters", "weights of the last version", weights)
    yield from part("versions", "weights version by version", made.groups.get("versions", []))
    yield from part("tokenizer", "tokenizer", words)
    recipe = [each for each in (places.RECIPE,) if each in there] + made.groups.get("recipe", [])
    yield from part("recipe", "recipe as opened", recipe)
    yield from part("environment", "where tasks and rewards come from", [places.ENVIRONMENT])
    yield from part(
        "dataset", "prompts and rollouts", [places.DATA, *made.groups.get("dataset", [])]
    )
    for kind, name in _OWN:
        yield from part(kind, name, archive, OWN_LICENCE)
    yield from part("libraries", "versions of what it needs", [places.LOCK])
    yield from part("evaluation_data", "held-out tasks", [places.ENVIRONMENT])
    results = [places.RESULTS, *made.groups.get("evaluation_results", [])]
    yield from part("evaluation_results", "results of evaluations", results)
    for kind, name, named in _PAPERS:
        found = [place for place in named if _is_there(place, there)]
        yield from part(kind, name, found)
    yield from part("ledger", "ledger and proofs", [places.LEDGER])


def _few(found: list[str]) -> tuple[str, ...]:
    """Each once; folders in place of more files than an index names."""
    named = tuple(sorted(set(found)))
    if len(named) <= MAX_PLACES:
        return named
    return tuple(sorted({place.split("/")[0] for place in named}))


def _is_there(place: str, there: set[str]) -> bool:
    return place in there or any(each.startswith(f"{place}/") for each in there)


def licences_named(components: Iterable[Component]) -> Mapping[str, list[str]]:
    """SPDX id -> components under it."""
    found: dict[str, list[str]] = {}
    for each in components:
        for name in (each.licence or "").split(" AND "):
            if name:
                found.setdefault(name, []).append(each.kind)
    return found
