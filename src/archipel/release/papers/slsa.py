"""provenance/: an in-toto statement for each stage, with the predicate of SLSA provenance 1. Pure but for the signing.

What was made (subjects), from what (dependencies) and by whom (builder, a did:key): what the ledger says, in the form
that others' tools read. Weights are named by their state digest, an algorithm of our own, and by their manifests,
which are files. Source: in-toto Statement v1, SLSA v1.0 provenance; DSSE v1.
"""

from typing import Any, Final

from archipel.identity import Envelope, Identity, sign, verify
from archipel.records.fields import BlobRef
from archipel.release.facts import EvaluationFact, Facts
from archipel.release.index import Released
from archipel.release.papers.stages import Stage, evaluations_of, stages_of
from archipel.release.papers.wording import hex_of, json_paper, time_of
from archipel.release.places import ENVIRONMENT, PROVENANCE, RECIPE
from archipel.release.stated import Stated

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATE: Final = "archipelState1"
"""How a state digest is named in a set of digests: SHA-256 over the names, forms and digests of all tensors."""
MAX_STATEMENT_BYTES = 64 * 1024 * 1024


def provenance(facts: Facts, stated: Stated, index: Released | None) -> dict[str, bytes]:
    """Place in the bundle -> statement, unsigned; in the order in which the stages were."""
    _ = stated  # a person's words are no provenance
    found = {
        f"{PROVENANCE}/{each.name}.json": json_paper(_of_stage(facts, each, index))
        for each in stages_of(facts)
    }
    for each in evaluations_of(facts):
        place = f"{PROVENANCE}/evaluation-{each.version}-{each.index}.json"
        found[place] = json_paper(_of_evaluation(facts, each))
    return found


def attested(statement: bytes, identity: Identity) -> bytes:
    """The statement in a DSSE envelope, which `identity` answers for. Raises BadEnvelope: it is too large."""
    return sign(identity, statement, PAYLOAD_TYPE, MAX_STATEMENT_BYTES).to_json()


def read_attested(data: bytes) -> tuple[str, bytes]:
    """(did:key of whoever answers for it, the statement), the signature checked.

    Raises:
        IdentityError: no such envelope, or its signature does not hold.
    """
    envelope = Envelope.from_json(data, MAX_STATEMENT_BYTES)
    return verify(envelope, PAYLOAD_TYPE), envelope.payload


def _statement(subject: list[dict[str, Any]], predicate: dict[str, Any]) -> dict[str, Any]:
    return {
        "_type": STATEMENT_TYPE,
        "subject": subject,
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }


def _of_stage(facts: Facts, stage: Stage, index: Released | None) -> dict[str, Any]:
    first, last = stage.versions[0], stage.versions[-1]
    kind = "start" if first.number == 0 else "update"
    subject = []
    for each in stage.versions:
        subject.append(_state(f"weights of version {each.number}", each.weights))
        subject.append(_file(f"manifest of version {each.number}", each.manifest))
    if last.number == facts.versions[-1].number:
        subject += [_file(name, ref) for name, ref in sorted(facts.files.items())]
    given = _common(facts)
    if first.parent is not None:
        given.append(_state("weights before", first.parent))
    if kind == "start" and index is not None:
        given += [_state(f"{each.relation} {each.name}", each.weights) for each in index.parents]
    if kind == "start":
        given += [
            {"name": each.name, "digest": {"sha256": hex_of(each.digest)}}
            | ({"downloadLocation": each.source} if each.source else {})
            for each in facts.data
            if each.digest is not None
        ]
    given += [
        {"name": f"work {work}", "uri": f"urn:archipel:work:{facts.lab}:{work}"}
        for work in stage.inputs
    ]
    blobs = [
        _file(f"{what} of version {each.number}", ref)
        for each in stage.versions
        for what, ref in (("anchor", each.anchor), ("delta", each.delta))
        if ref is not None
    ]
    asked = {"run": facts.run, "firstVersion": first.number, "lastVersion": last.number}
    run = _run(facts, stage.name, stage.author, (first.at_ms, last.at_ms))
    return _statement(
        subject,
        {
            "buildDefinition": _definition(facts, kind, asked, given),
            "runDetails": run | {"byproducts": blobs},
        },
    )


def _of_evaluation(facts: Facts, each: EvaluationFact) -> dict[str, Any]:
    given = [*_common(facts), _state(f"weights of version {each.version}", each.weights)]
    if each.tasks is not None:
        given.append({"name": "tasks", "digest": {"sha256": hex_of(each.tasks)}})
    asked = {"run": facts.run, "version": each.version}
    name = f"evaluation-{each.version}-{each.index}"
    return _statement(
        [_file(f"report on version {each.version}", each.report)],
        {
            "buildDefinition": _definition(facts, "evaluation", asked, given),
            "runDetails": _run(facts, name, each.author, (each.at_ms, each.at_ms)),
        },
    )


def _definition(
    facts: Facts, kind: str, asked: dict[str, Any], given: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "buildType": f"urn:archipel:stage:{kind}:1",
        "externalParameters": asked | {"recipe": facts.recipe_digest},
        "internalParameters": {"exactContract": facts.contract},
        "resolvedDependencies": given,
    }


def _run(facts: Facts, name: str, author: str, times_ms: tuple[int, int]) -> dict[str, Any]:
    return {
        "builder": {"id": author},
        "metadata": {
            "invocationId": f"{facts.run}/{name}",
            "startedOn": time_of(times_ms[0]),
            "finishedOn": time_of(times_ms[1]),
        },
    }


def _common(facts: Facts) -> list[dict[str, Any]]:
    """What every stage depends on."""
    return [
        {"name": RECIPE, "digest": {"sha256": hex_of(facts.recipe_digest)}},
        {
            "name": "ledger",
            "digest": {"rfc6962Root": hex_of(facts.tree_root)},
            "annotations": {"origin": facts.origin, "size": facts.tree_size},
        },
        {
            "name": ENVIRONMENT,
            "uri": f"urn:archipel:environment:{facts.recipe.environment.name}",
        },
    ]


def _state(name: str, digest: str) -> dict[str, Any]:
    return {"name": name, "digest": {STATE: hex_of(digest)}}


def _file(name: str, ref: BlobRef) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": hex_of(ref.digest)}}
