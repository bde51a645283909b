"""sbom.spdx.json: the release as SPDX 3.0.1 has it, with its AI, dataset, software and licensing profiles. Pure.

The model is an AI package; its data are dataset packages that it was trained on; its code and libraries are packages
that it depends on. Every element is named below the ledger's root, so that two releases never share a name.
Source: SPDX 3.0.1, JSON-LD serialization; AI and Dataset profiles.
"""

from typing import Any, Final

from archipel.release.facts import DataFact, Facts
from archipel.release.index import Component, Released
from archipel.release.papers import tables
from archipel.release.papers.stages import evaluations_of
from archipel.release.papers.wording import (
    hex_of,
    json_paper,
    licence_of,
    number,
    one_line,
    time_of,
    title_of,
)
from archipel.release.stated import Stated

CONTEXT: Final = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
NO_ASSERTION: Final = "NOASSERTION"
_NOWHERE: Final = "urn:archipel:not-stated"
_PROFILES: Final = ["ai", "core", "dataset", "simpleLicensing", "software"]
_CREATION: Final = "_:creation"
_MAX_SETTINGS = 400
_CODE: Final = frozenset(
    {
        "architecture",
        "training_code",
        "inference_code",
        "evaluation_code",
        "data_preprocessing",
        "environment",
    }
)


class _Graph:
    """Elements as they come; each licence once."""

    def __init__(self, facts: Facts) -> None:
        self.base = f"urn:archipel:release:{hex_of(facts.tree_root)}:{facts.run}"
        self.elements: list[dict[str, Any]] = []
        self._licences: dict[str, str] = {}
        self._relations = 0

    def add(self, kind: str, label: str, /, **fields: Any) -> str:
        """The id of a new element; what is None is left out."""
        known = {key: value for key, value in fields.items() if value is not None}
        found = f"{self.base}#{label}"
        self.elements.append({"type": kind, "spdxId": found, "creationInfo": _CREATION} | known)
        return found

    def relate(self, subject: str, how: str, others: list[str]) -> None:
        """Subject `how` others, which may be none."""
        if others:
            self._relations += 1
            self.add(
                "Relationship",
                f"relationship-{self._relations}",
                **{"from": subject, "to": others, "relationshipType": how},
            )

    def licence(self, subject: str, licence: str | None) -> None:
        """Declared and concluded, as the profiles ask: the owner's word is all that anybody has."""
        name = licence or NO_ASSERTION
        if name not in self._licences:
            self._licences[name] = self.add(
                "simplelicensing_LicenseExpression",
                f"licence-{len(self._licences) + 1}",
                simplelicensing_licenseExpression=name,
            )
        for how in ("hasDeclaredLicense", "hasConcludedLicense"):
            self.relate(subject, how, [self._licences[name]])


def spdx(facts: Facts, stated: Stated, index: Released | None) -> bytes:
    """The document."""
    graph = _Graph(facts)
    lab = graph.add(
        "SoftwareAgent", "lab", name=f"lab {facts.lab}", externalIdentifier=[_did(facts.lab)]
    )
    model = _model(graph, facts, stated, index, lab)
    trained = [
        _dataset(graph, at, each, facts, stated, lab) for at, each in enumerate(facts.data, 1)
    ]
    graph.relate(model, "trainedOn", trained)
    _files(graph, model, facts)
    _components(graph, model, facts, index)
    _parents(graph, model, facts, index, lab)
    root = graph.add(
        "software_Sbom",
        "sbom",
        profileConformance=_PROFILES,
        rootElement=[model],
        element=[each["spdxId"] for each in graph.elements],
        software_sbomType=["build"],
    )
    document = {
        "type": "SpdxDocument",
        "spdxId": graph.base,
        "creationInfo": _CREATION,
        "name": f"release of {facts.run}",
        "profileConformance": _PROFILES,
        "rootElement": [root],
    }
    creation = {
        "type": "CreationInfo",
        "@id": _CREATION,
        "specVersion": "3.0.1",
        "created": time_of(facts.last_ms),
        "createdBy": [lab],
    }
    return json_paper({"@context": CONTEXT, "@graph": [creation, document, *graph.elements]})


def _model(graph: _Graph, facts: Facts, stated: Stated, index: Released | None, lab: str) -> str:
    last = facts.versions[-1]
    results = [each for each in evaluations_of(facts) if each.version == last.number]
    metrics = sorted(results[-1].metrics.items()) if results else []
    model = graph.add(
        "ai_AIPackage",
        "model",
        name=title_of(facts, stated),
        software_packageVersion=str(last.number),
        software_primaryPurpose="model",
        software_downloadLocation=_address(stated),
        software_copyrightText=", ".join(map(one_line, stated.authors)) or NO_ASSERTION,
        suppliedBy=lab,
        releaseTime=time_of(facts.last_ms),
        builtTime=time_of(last.at_ms),
        comment=f"State digest of the weights: {last.weights}",
        ai_typeOfModel=[one_line(facts.architecture), "reinforcement learning"],
        ai_domain=[facts.recipe.environment.name],
        ai_informationAboutTraining=_training(facts),
        ai_informationAboutApplication=_words(stated.intended_use),
        ai_limitation=_words(stated.limitations),
        ai_hyperparameter=[
            _entry(key, value) for key, value in tables.settings(facts)[:_MAX_SETTINGS]
        ],
        ai_metric=[_entry(name, f"{value:.10g}") for name, value in metrics] or None,
        ai_energyConsumption=_energy(facts),
        ai_useSensitivePersonalInformation="noAssertion",
        ai_autonomyType="noAssertion",
    )
    graph.licence(model, licence_of("parameters", stated, index))
    return model


def _training(facts: Facts) -> str:
    sampled = sum(each.tokens for each in facts.parties)
    return (
        f"{number(len(facts.versions))} versions, {number(sampled)} tokens sampled by {number(len(facts.parties))} parties; "
        f"recipe {facts.recipe_digest}; ledger of {number(facts.tree_size)} entries, root {facts.tree_root}."
    )


def _energy(facts: Facts) -> dict[str, Any] | None:
    if facts.cost.energy_j is None:
        return None
    spent = {
        "type": "ai_EnergyConsumptionDescription",
        "ai_energyQuantity": f"{facts.cost.energy_j / 3_600_000:.6f}",
        "ai_energyUnit": "kilowattHour",
    }
    return {"type": "ai_EnergyConsumption", "ai_trainingEnergyConsumption": [spent]}


def _dataset(graph: _Graph, at: int, data: DataFact, facts: Facts, stated: Stated, lab: str) -> str:
    opened, last = time_of(facts.opened_ms), time_of(facts.last_ms)
    found = graph.add(
        "dataset_DatasetPackage",
        f"data-{at}",
        name=one_line(data.name),
        originatedBy=[lab],
        builtTime=opened if data.kind != "rollouts" else last,
        releaseTime=last,
        software_downloadLocation=_address(stated),
        software_primaryPurpose="data",
        software_sourceInfo=_words(data.source),
        dataset_datasetType=["text"],
        dataset_datasetSize=data.size_bytes,
        dataset_datasetAvailability="directDownload" if data.place else None,
        dataset_intendedUse=f"training of {facts.run}",
        dataset_hasSensitivePersonalInformation="noAssertion",
        comment=f"{data.kind}; the lab is who brought it into the run, not who wrote it",
        verifiedUsing=_hashes(data.digest),
    )
    graph.licence(found, tables.licence_of_data(data, stated))
    return found


def _files(graph: _Graph, model: str, facts: Facts) -> None:
    """The files of the model directory."""
    files = [
        graph.add(
            "software_File",
            f"file-{at}",
            name=name,
            software_primaryPurpose="model" if name.endswith(".safetensors") else "configuration",
            verifiedUsing=_hashes(ref.digest),
        )
        for at, (name, ref) in enumerate(sorted(facts.files.items()), 1)
    ]
    graph.relate(model, "contains", files)


def _components(graph: _Graph, model: str, facts: Facts, index: Released | None) -> None:
    """Code and libraries of the index."""
    listed = index.components if index is not None else ()
    for kinds, how in ((_CODE, "dependsOn"), (frozenset({"libraries"}), "dependsOn")):
        graph.relate(
            model,
            how,
            [
                _package(graph, at, each, facts)
                for at, each in enumerate(listed, 1)
                if each.kind in kinds
            ],
        )


def _package(graph: _Graph, at: int, component: Component, facts: Facts) -> str:
    found = graph.add(
        "software_Package",
        f"component-{at}",
        name=component.name,
        software_primaryPurpose="source" if component.kind in _CODE else "library",
        software_sourceInfo=_words(component.source),
        releaseTime=time_of(facts.last_ms),
        comment=f"{component.kind}: {', '.join(component.places[:20])}",
    )
    graph.licence(found, component.licence)
    return found


def _parents(graph: _Graph, model: str, facts: Facts, index: Released | None, lab: str) -> None:
    for at, each in enumerate(index.parents if index is not None else (), 1):
        parent = graph.add(
            "ai_AIPackage",
            f"parent-{at}",
            name=one_line(each.name),
            software_packageVersion=each.weights,
            software_primaryPurpose="model",
            software_downloadLocation=_NOWHERE,
            suppliedBy=lab,
            releaseTime=time_of(facts.opened_ms),
            comment=f"the model is {each.relation} it; the lab is who brought it, at the latest when the run opened",
        )
        graph.licence(parent, each.licence)
        graph.relate(parent, "ancestorOf", [model])


def _address(stated: Stated) -> str:
    """Where it will be published; an address that nobody stated is not one."""
    address = stated.address or ""
    return address if address.startswith(("https://", "http://")) else _NOWHERE


def _words(text: str | None) -> str | None:
    return None if text is None else one_line(text)


def _entry(key: str, value: str) -> dict[str, str]:
    return {"type": "DictionaryEntry", "key": key, "value": one_line(value)}


def _hashes(digest: str | None) -> list[dict[str, str]] | None:
    if digest is None:
        return None
    return [{"type": "Hash", "algorithm": "sha256", "hashValue": hex_of(digest)}]


def _did(did: str) -> dict[str, str]:
    return {"type": "ExternalIdentifier", "externalIdentifierType": "other", "identifier": did}
