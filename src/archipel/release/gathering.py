"""What a ledger knows of a run: from there come all facts of a release.

Parts: `Ledger` (a folded one, and what was heard of the run in it), `gather` (the facts). Law: only what was signed
and folded, and bytes under digests in it; what the ledger does not know is None.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipel.lab.providers import account_of
from archipel.lab.state import LabState
from archipel.lab.withdrawals import withdrawals
from archipel.ledger.tree_head import TreeHead
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutAnswer
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.recipe import Recipe, recipe_from_canonical
from archipel.records.statements import RunOpened
from archipel.records.weight_parts import InParts
from archipel.release.facts import (
    Cost,
    DataFact,
    EvaluationFact,
    Facts,
    PartyFact,
    VersionFact,
)
from archipel.release.hearing import Hearing, rollouts, rollouts_file
from archipel.release.places import ROLLOUTS
from archipel.release.stated import Stated
from archipel.release.weights.manifest import BadVersion, read_manifest

Find = Callable[[BlobRef], Path | None]
"""A file with the bytes of a blob, hashed; None: they are not to be had."""
MAX_CONFIG_BYTES = 1024 * 1024
MAX_REPORT_BYTES = 256 * 1024 * 1024
_ROLES = {"update": "updated", "evaluate": "evaluated", "rollout": "sampled", "audit": "audited"}
_SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
)


class CannotRelease(ValueError):
    """There is nothing that could be released, or what it takes is missing; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A folded ledger, and what was heard of the run in it."""

    lab: str
    head: TreeHead
    state: LabState
    hearing: Hearing


def gather(ledger: Ledger, find: Find, stated: Stated) -> Facts:
    """Everything that the ledger, the recipe and what lies under digests in them say of the run.

    Raises:
        CannotRelease: no such run, none with a version, one in parts, or its recipe is not to be had.
    """
    heard = ledger.hearing
    story = heard.story
    story.withdrawn = withdrawals(ledger.state, heard.name)
    if story.opened is None or heard.opened is None:
        raise CannotRelease(f"this ledger opens no run {heard.name!r:.80}")
    if not story.updates:
        raise CannotRelease(f"run {heard.name} has no version yet; release it when it has one")
    _refuse_parts(heard)
    _ = story.pace  # of another programme: its own sentence
    recipe, config = _recipe(story.opened, find), _config(story.opened, find)
    versions = tuple(_versions(heard))
    return Facts(
        run=heard.name,
        lab=ledger.lab,
        origin=ledger.head.origin,
        tree_size=ledger.head.size,
        tree_root=f"sha256:{ledger.head.root.hex()}",
        operators=tuple(sorted(story.operators)),
        opened_index=heard.opened.index,
        opened_ms=heard.opened.at_ms,
        last_ms=heard.last_ms,
        recipe=recipe,
        recipe_digest=story.opened.recipe.digest,
        parameters=_parameters(versions[-1], find),
        architecture=_architecture(config),
        context_tokens=_natural(config.get("max_position_embeddings")),
        versions=versions,
        parties=tuple(_parties(ledger)),
        evaluations=tuple(evaluations_of(heard, find)),
        data=tuple(_data(heard, recipe, stated)),
        cost=_cost(heard),
        software=tuple(sorted({heard.software[a] for a in _authors(heard) if a in heard.software})),
        contract=story.pace.exact,
        files={},
        withdrawn=dict(story.taken_out),
    )


def _refuse_parts(heard: Hearing) -> None:
    """Whoever verifies a release reads whole versions, without a tensor library."""
    for each in heard.story.updates:
        if isinstance(each.answer.manifest, InParts):
            raise CannotRelease(
                f"version {each.answer.version} of {heard.name} is published in {each.answer.manifest.parts} parts, and a "
                f"release holds whole versions; write the model with `archipel run export {heard.name}`, or leave "
                "run.parts out of the recipe of a run that is to be released"
            )


def _versions(heard: Hearing) -> Iterator[VersionFact]:
    for number, (update, place) in enumerate(
        zip(heard.story.updates, heard.published, strict=True)
    ):
        answer: UpdateAnswer = update.answer
        yield VersionFact(
            number=answer.version,
            weights=answer.policy,
            parent=answer.parent,
            manifest=answer.manifest,
            anchor=answer.anchor,
            delta=answer.delta,
            author=update.author,
            index=place.index,
            at_ms=place.at_ms,
            inputs=_inputs(heard, number) if number else (),
        )


def _inputs(heard: Hearing, version: int) -> tuple[str, ...]:
    """Works whose results it was made from; those that the ledger does not have are named by the story's faults."""
    try:
        return tuple(each.work for each in heard.story.inputs(version))
    except KeyError:
        return ()


def _parties(ledger: Ledger) -> Iterator[PartyFact]:
    heard, story, state = ledger.hearing, ledger.hearing.story, ledger.state
    roles, nodes = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    works, groups, tokens, micro = (Counter[str]() for _ in range(4))
    if heard.opened is not None:
        roles[heard.opened.author].add("opened")
    for work, answered in heard.answered.items():
        if work not in story.withdrawn:
            account = account_of(state, answered.author)
            roles[account].add(_ROLES.get(heard.kinds[work], heard.kinds[work]))
            nodes[account].add(answered.author)
            works[account] += 1
    for work, spec, answer in rollouts(story):
        account = account_of(state, heard.answered[work].author)
        groups[account] += len(spec.groups)
        tokens[account] += answer.num_tokens
    for wallet, amount in heard.micro.items():
        micro[account_of(state, wallet)] += amount
    for did in sorted(roles):
        yield PartyFact(
            did=did,
            roles=tuple(sorted(roles[did])),
            nodes=tuple(sorted(nodes[did])),
            works=works[did],
            groups=groups[did],
            tokens=tokens[did],
            micro=micro[did],
        )


def evaluations_of(heard: Hearing, find: Find) -> Iterator[EvaluationFact]:
    """Evaluations in the order of the ledger, with the tasks that their reports name."""
    for exam, place in zip(heard.story.exams, heard.examined, strict=True):
        yield EvaluationFact(
            version=exam.answer.version,
            weights=exam.answer.policy,
            report=exam.answer.report,
            metrics=dict(exam.answer.metrics),
            author=exam.author,
            index=place.index,
            at_ms=place.at_ms,
            tasks=_tasks(find(exam.answer.report)),
        )


def _data(heard: Hearing, recipe: Recipe, stated: Stated) -> Iterator[DataFact]:
    """What shaped the weights: the environment's tasks, what was shown in a supervised stage, and the rollouts."""
    environment = recipe.environment
    kind = "file" if recipe.data_paths else "generated"
    known = {each.name: each for each in stated.data}

    def fact(name: str, kind: str, **more: Any) -> DataFact:
        said = known.get(name)
        plain = dict.fromkeys(("digest", "size_bytes", "count", "tokens", "place"))
        return DataFact(
            name=name,
            kind=kind,
            licence=None if said is None else said.licence,
            source=None if said is None else said.source,
            **(plain | more),
        )

    results = list(rollouts(heard.story))
    groups = sum(len(spec.groups) for _, spec, _ in results)
    yield fact(f"{environment.name} tasks", kind, count=groups)
    if recipe.supervised is not None:
        yield fact(f"{environment.name} examples", kind)
    listed = rollouts_file(heard)
    yield fact(
        "rollouts",
        "rollouts",
        digest=sha256_digest(listed),
        size_bytes=len(listed),
        count=groups * heard.story.pace.group_size,
        tokens=sum(answer.num_tokens for _, _, answer in results),
        place=ROLLOUTS,
    )


def _cost(heard: Hearing) -> Cost:
    busy_ms = sum(
        each.answer.busy_ms
        for each in heard.story.results.values()
        if isinstance(each.answer, RolloutAnswer)
    )
    return Cost(
        paid_micro=sum(heard.micro.values()),
        processor_s=busy_ms / 1000 if busy_ms else None,
        energy_j=None,
        how="Credits by the postings of the ledger; seconds are the time in which nodes say that they sampled, "
        "updates not counted; nobody measured energy.",
    )


def _authors(heard: Hearing) -> set[str]:
    return {each.author for each in heard.answered.values()}


def _recipe(opened: RunOpened, find: Find) -> Recipe:
    path = find(opened.recipe)
    if path is None:
        raise CannotRelease(
            f"the recipe of {opened.run}, {opened.recipe.digest}, is not to be had here; a lab keeps it as long as "
            "the run"
        )
    return recipe_from_canonical(path.read_bytes())


def _config(opened: RunOpened, find: Find) -> Mapping[str, Any]:
    """config.json of the initial model; empty: it is not to be had, or none."""
    named = {file.name: file.blob for file in opened.model}
    path = find(named["config.json"]) if "config.json" in named else None
    if path is None or path.stat().st_size > MAX_CONFIG_BYTES:
        return {}
    return _object(path.read_bytes())


def _architecture(config: Mapping[str, Any]) -> str:
    sizes = [f"{name}={config[name]}" for name in _SIZES if _natural(config.get(name)) is not None]
    family = config.get("model_type")
    if not isinstance(family, str):
        return "unknown"
    return f"{family:.80}" + (f" ({', '.join(sizes)})" if sizes else "")


def _parameters(version: VersionFact, find: Find) -> int:
    """0: the last version's manifest is not to be had."""
    path = find(version.manifest)
    try:
        return 0 if path is None else read_manifest(path.read_bytes()).parameters
    except BadVersion as error:
        raise CannotRelease(f"version {version.number}: {error}") from None


def _tasks(report: Path | None) -> str | None:
    if report is None or report.stat().st_size > MAX_REPORT_BYTES:
        return None
    found = _object(report.read_bytes()).get("tasks")
    return found if isinstance(found, str) else None


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _natural(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
