"""What a bundle holds, before anything is written: a place for every file, and the components that they are parts of.

Parts: `Sources` (where it comes from), `Chosen` (how much of it), `Contents`; `contents_of`. Laws: pure but for reading
what `Sources` names; whatever a whole release would hold and this one does not is said, a sentence each.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from archipel.lab.run_story import RunStory
from archipel.ledger.merkle import inclusion_proof
from archipel.ledger.mirror import Mirror
from archipel.ledger.proof_file import proof_text
from archipel.plurals import counted
from archipel.records.chain import chain_to
from archipel.records.fields import BlobRef
from archipel.release import code, places
from archipel.release.facts import EvaluationFact, Facts, VersionFact
from archipel.release.gathering import CannotRelease, Find
from archipel.release.hearing import Hearing, rollouts, rollouts_file

Content = Path | bytes
MAX_NAMED = 20
"""Versions named in one sentence."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a release comes from."""

    facts: Facts
    heard: Hearing
    find: Find
    model: Path
    """A model directory with the last version's weights."""
    mirror: Mirror
    package: Path
    """The folder of this software's package."""
    recipe: str | None
    """The recipe as TOML that reads back as the very recipe; None: TOML has no words for it."""
    environment: Mapping[str, Path] = field(default_factory=dict)
    """Name -> a file that the environment reads."""
    secret: bytes | None = None
    """What only the verifier knew, if its holder gives it away."""
    paper: Path | None = None
    """A research paper about it."""
    licences: Mapping[str, Path] = field(default_factory=dict)
    """SPDX id -> its text."""


@dataclass(slots=True)
class Contents:
    """Files by their place, and what is not among them."""

    files: dict[str, Content] = field(default_factory=dict)
    blobs: dict[str, BlobRef] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    """What blobs are for (`versions`, `dataset`, `evaluation_results`, `recipe`) -> their places."""
    missing: list[str] = field(default_factory=list)

    def put(self, place: str, content: Content) -> None:
        """One more file.

        Raises:
            CannotRelease: another one is to lie there.
        """
        other = self.files.setdefault(place, content)
        if other is not content and _bytes_of(other) != _bytes_of(content):
            raise CannotRelease(
                f"two files want the place {place:.200}; give one of them another name"
            )


def contents_of(sources: Sources, versions: frozenset[int] | None) -> Contents:
    """Everything but papers, index and signature. versions: which are to be had; None: every one."""
    made = Contents()
    for path in sorted(sources.model.rglob("*")):
        if path.is_file():
            made.put(path.relative_to(sources.model).as_posix(), path)
    if sources.recipe is None:
        made.missing.append(f"{places.RECIPE}: the recipe is among the blobs, as canonical JSON")
    else:
        made.put(places.RECIPE, sources.recipe.encode())
    _code(made, sources)
    _environment(made, sources)
    _data(made, sources)
    _ledger(made, sources)
    _versions(made, sources, versions)
    _inputs(made, sources)
    made.put(places.RESULTS, results_file(sources.facts.run, sources.facts.evaluations))
    if sources.paper is not None:
        made.put(f"{places.PAPER}{sources.paper.suffix}", sources.paper)
    for name, path in sorted(sources.licences.items()):
        made.put(f"{places.LICENCES}/{name}.txt", path)
    return made


def _code(made: Contents, sources: Sources) -> None:
    archive = code.source_archive(sources.package, code.beside_package())
    made.put(f"{places.CODE}/{code.archive_name()}", archive)
    made.put(places.LOCK, code.lock())
    text = code.own_licence()
    if text is None:
        made.missing.append(
            "the text of Apache-2.0, this software's licence: it is not installed beside it"
        )
    else:
        made.put(f"{places.LICENCES}/Apache-2.0.txt", text)


def _environment(made: Contents, sources: Sources) -> None:
    recipe = sources.facts.recipe
    said = {
        "name": recipe.environment.name,
        "parameters": dict(recipe.environment.parameters),
        "secret": recipe.environment.secret,
        "secret_given_away": sources.secret is not None,
        "software": list(sources.facts.software),
        "files": sorted(sources.environment),
    }
    made.put(places.ENVIRONMENT_SAID, in_lines(said))
    for name, path in sorted(sources.environment.items()):
        made.put(f"{places.ENVIRONMENT}/{name}", path)
    for named in recipe.data_paths:
        if Path(named).name not in sources.environment:
            made.missing.append(
                f"{named:.200}, which the recipe reads: give it with --file; the ledger does not know its digest"
            )
    if sources.secret is not None:
        made.put(places.GIVEN_AWAY, sources.secret)
    elif recipe.secret_name is not None:
        made.missing.append(
            f"the secret {recipe.secret_name!r}: without it nobody grades the answers again (--secret-file)"
        )


def _data(made: Contents, sources: Sources) -> None:
    made.put(places.ROLLOUTS, rollouts_file(sources.heard))
    made.put(places.SOURCES, in_lines([asdict(each) for each in sources.facts.data]))


def _ledger(made: Contents, sources: Sources) -> None:
    mirror, facts = sources.mirror, sources.facts
    for path in sorted(mirror.folder.rglob("*")):
        inside = path.relative_to(mirror.folder).as_posix()
        is_ours = inside.split("/")[0] in ("checkpoint", "tile", "witnesses")
        if path.is_file() and is_ours and not path.name.endswith(".partial"):
            made.put(f"{places.LEDGER}/{inside}", path)
    if mirror.head is None:
        return
    nodes = mirror.nodes()
    proven = {facts.opened_index, *(each.index for each in facts.versions)}
    for index in sorted(proven | {each.index for each in facts.evaluations}):
        proof = inclusion_proof(index, mirror.size, nodes)
        made.put(f"{places.PROOFS}/{index}.tlog-proof", proof_text(index, proof, mirror.head.note))
        made.put(f"{places.PROOFS}/{index}.entry", mirror.entry(index))


def _versions(made: Contents, sources: Sources, chosen: frozenset[int] | None) -> None:
    versions = sources.facts.versions
    known = {each.number: each for each in versions}
    wanted = set(known) if chosen is None else chosen & set(known)
    links: dict[int, VersionFact] = {}
    for number in sorted(wanted):
        if number not in links:
            try:
                chain = chain_to(_Known(known).find, -1, number)
            except ValueError:
                continue
            links |= {link.fact.number: link.fact for link, _ in chain}
    lost = [number for number in links if not _version(made, sources, links[number])]
    if left := sorted(set(known) - set(links)):
        made.missing.append(f"{_listed(left)}: not asked for (--versions)")
    if lost:
        made.missing.append(
            f"{_listed(lost)}: their manifests, anchors or deltas are not to be had any more"
        )


def _version(made: Contents, sources: Sources, version: VersionFact) -> bool:
    """Whether all of it is to be had."""
    blobs = (version.manifest, version.anchor, version.delta)
    found = [_blob(made, sources.find, each, "versions") for each in blobs if each is not None]
    return all(found)


def _inputs(made: Contents, sources: Sources) -> None:
    """What anybody needs who makes it again."""
    for what, group, blobs in inputs_of(sources.heard.story):
        _all(made, sources.find, what, group, blobs)


def inputs_of(story: RunStory) -> Iterator[tuple[str, str, list[BlobRef]]]:
    """(what they are, what they are for, the blobs): recipe, initial model, prompts, results, checkpoints, reports."""
    if story.opened is not None:
        yield "recipe", "recipe", [story.opened.recipe]
        yield "initial model files", "versions", [file.blob for file in story.opened.model]
    answers = [each.answer for each in story.updates]
    answers += [each.answer for asked in story.refills.values() for each in asked]
    prompts = [batch.blob for answer in answers for batch in answer.prompts]
    yield "batches of prompts", "dataset", prompts
    yield "results", "dataset", [answer.result for _, _, answer in rollouts(story)]
    memories = [answer.memory for answer in answers if answer.memory is not None]
    yield "checkpoints of the learner", "versions", memories
    yield "reports of evaluations", "evaluation_results", [e.answer.report for e in story.exams]


def blobs_of(story: RunStory) -> Iterator[BlobRef]:
    """Every blob that a whole release of the run holds."""
    for _, _, blobs in inputs_of(story):
        yield from blobs
    for each in story.updates:
        published = (each.answer.manifest, each.answer.anchor, each.answer.delta)
        yield from (blob for blob in published if blob is not None)


def _all(made: Contents, find: Find, what: str, group: str, blobs: list[BlobRef]) -> None:
    lost = [each for each in blobs if not _blob(made, find, each, group)]
    if lost:
        made.missing.append(f"{len(lost)} of {len(blobs)} {what}: the lab has them no more")


def _blob(made: Contents, find: Find, blob: BlobRef, group: str) -> bool:
    path = find(blob)
    if path is None:
        return False
    place = places.blob_place(blob.digest)
    made.put(place, path)
    made.blobs[blob.digest] = blob
    if place not in made.groups.setdefault(group, []):
        made.groups[group].append(place)
    return True


def results_file(run: str, evaluations: Iterable[EvaluationFact]) -> bytes:
    """Every evaluation as the ledger and its report say it: JSON."""
    return in_lines(
        {
            "run": run,
            "evaluations": [
                {
                    "version": each.version,
                    "weights": each.weights,
                    "report": each.report.digest,
                    "tasks": each.tasks,
                    "metrics": dict(sorted(each.metrics.items())),
                    "author": each.author,
                    "entry": each.index,
                }
                for each in evaluations
            ],
        }
    )


def _bytes_of(content: Content) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def in_lines(value: object) -> bytes:
    """JSON for people, the same bytes for equal values."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _listed(numbers: list[int]) -> str:
    named = ", ".join(map(str, numbers[:MAX_NAMED])) + (", ..." if len(numbers) > MAX_NAMED else "")
    return f"{counted(len(numbers), 'version')} ({named})"


@dataclass(frozen=True, slots=True)
class _Link:
    """As `records.chain` wants one."""

    fact: VersionFact

    @property
    def version(self) -> int:
        return self.fact.number

    @property
    def anchor(self) -> object | None:
        return self.fact.anchor

    @property
    def delta(self) -> object | None:
        return self.fact.delta


@dataclass(frozen=True, slots=True)
class _Known:
    versions: Mapping[int, VersionFact]

    def find(self, number: int) -> _Link | None:
        fact = self.versions.get(number)
        return None if fact is None else _Link(fact)
