"""Which files of a bundle are which component, and under which licence. Pure.

Law: this software's own parts are under its licence; of everything else the owner states one, or nobody does.
"""

from collections.abc import Iterable, Mapping

from archipel.release import places
from archipel.release.contents import Contents
from archipel.release.facts import Facts
from archipel.release.index import Component, Kind, Parent, Released
from archipel.release.stated import Stated

OWN_LICENCE = "Apache-2.0"
MAX_PLACES = 10_000
Part = tuple[Kind, str, list[str]]
"""(what it is, its name, where it lies)"""
_OURS: Mapping[Kind, str] = {
    "architecture": "network",
    "data_preprocessing": "how tasks and examples become batches",
    "training_code": "updates, supervised stage, and the lab that paces them",
    "inference_code": "engine and server",
    "evaluation_code": "grading and evaluation",
    "libraries": "versions of what it needs",
}
"""Components that are this software."""
_CONFIGS = ("config.json", "generation_config.json", "adapter_config.json")
_WORDS = ("tokenizer", "special_tokens", "vocab", "merges", "chat_template")
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


def index_of(
    facts: Facts,
    stated: Stated,
    made: Contents,
    papers: Iterable[str],
    parents: tuple[Parent, ...] = (),
) -> Released:
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
        parents=parents,
        missing=tuple(sorted(made.missing)),
        blobs=tuple(made.blobs[digest] for digest in sorted(made.blobs)),
    )


def _components(stated: Stated, made: Contents, there: set[str]) -> Iterable[Component]:
    for kind, name, found in (*_model(made, there), *_beside(made, there), *_papers(there)):
        if found:
            own = OWN_LICENCE if kind in _OURS else None
            licence = own or stated.licences.get(kind, stated.licences.get("default"))
            yield Component(kind=kind, name=name, places=_few(found), licence=licence)


def _model(made: Contents, there: set[str]) -> Iterable[Part]:
    root = sorted(place for place in there if "/" not in place)
    archive = _below(places.CODE, there)
    weights = [each for each in root if each.endswith((".safetensors", ".safetensors.index.json"))]
    config = [each for each in root if each in _CONFIGS]
    yield "architecture", "network and its configuration", archive + config
    yield "parameters", "weights of the last version", weights
    yield "versions", "weights version by version", made.groups.get("versions", [])
    yield "tokenizer", "tokenizer", [each for each in root if each.startswith(_WORDS)]


def _beside(made: Contents, there: set[str]) -> Iterable[Part]:
    recipe = [each for each in (places.RECIPE,) if each in there]
    yield "recipe", "recipe as opened", recipe + made.groups.get("recipe", [])
    yield "environment", "where tasks and rewards come from", [places.ENVIRONMENT]
    yield "dataset", "prompts and rollouts", [places.DATA, *made.groups.get("dataset", [])]
    for kind, name in _OURS.items():
        if kind != "architecture":
            lies = [places.LOCK] if kind == "libraries" else _below(places.CODE, there)
            yield kind, name, lies
    yield "evaluation_data", "held-out tasks", [places.ENVIRONMENT]
    results = [places.RESULTS, *made.groups.get("evaluation_results", [])]
    yield "evaluation_results", "results of evaluations", results
    yield "ledger", "ledger and proofs", [places.LEDGER]


def _papers(there: set[str]) -> Iterable[Part]:
    papers = [each for each in _below(places.PAPERS, there) if each.startswith(places.PAPER)]
    yield "research_paper", "research paper", papers
    for kind, name, named in _PAPERS:
        yield kind, name, [each for each in named if each in there or _below(each, there)]


def _below(folder: str, there: set[str]) -> list[str]:
    return sorted(each for each in there if each.startswith(f"{folder}/"))


def _few(found: list[str]) -> tuple[str, ...]:
    """Each once; folders in place of more files than an index names."""
    named = tuple(sorted(set(found)))
    if len(named) <= MAX_PLACES:
        return named
    return tuple(sorted({place.split("/")[0] for place in named}))
