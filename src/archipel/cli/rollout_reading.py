"""Fetching what a version was made from: the sampled groups, their prompts, and the words they are made of.

Law: which results belong to a version is read from signed records (the lab's grant covers them by digest, or
the ledger's own entries name them), and bytes are hashed before they are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from archipel.blobs import BlobStore
from archipel.cli.run_ledger import newest_first, prompt_blobs
from archipel.identity import Envelope
from archipel.node.client import LabReader
from archipel.node.exchange import LabRefused, believed
from archipel.node.histories import NOT_FOUND, RunReader
from archipel.node.operator import copy_file
from archipel.node.sealed import folder_of, inputs_of, publication_of
from archipel.records.batches import Batches
from archipel.records.documents import AcceptedWork, Inputs, RunView
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.programmes.rl import RlPace
from archipel.records.prompts import unpack_tasks
from archipel.records.rollouts import Rollout, bounds_of, unpack_rollouts
from archipel.records.statements import LeaseGranted, RunOpened, WorkAnswered, decode


class NotKept(ValueError):
    """The lab has this no longer; the message says until when it would have."""


@dataclass(frozen=True, slots=True)
class SampledGroup:
    """One group of a batch."""

    index: int
    version: int
    """The policy version that it was sampled from."""
    prompt: tuple[int, ...] | None
    """Token ids; None when the lab has the prompts no longer."""
    rollouts: Sequence[Rollout]
    work: str
    task: int | None = None
    """Which it plays, where its prompts say that."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one version was made from."""

    run: str
    version: int
    groups: Sequence[SampledGroup]
    recorded_reward: float | None
    """Mean reward of the batch, as the version's publication says."""
    recipe: bytes
    model: Path
    """Folder with configuration and tokenizer."""
    opened: RunOpened
    """How the run was opened."""


async def read_batch(lab: LabReader, run: str, version: int | None, home: Path) -> Batch:
    """The batch that `version` was made from (None: the newest).

    Raises:
        LabUnreachable, LabRefused: from the lab.
        NotKept: it has the results no longer.
        ValueError: there is no such version.
    """
    reader = RunReader(lab, run)
    opened, view = await reader.opening(), await lab.read(RunView, f"/runs/{run}")
    if not isinstance(opened.pace, RlPace):
        raise NotKept(f"{run} samples no rollouts: it follows {opened.pace.programme}")
    wanted = view.version if version is None else version
    if not 1 <= wanted <= view.version:
        raise ValueError(
            f"{run} has versions 1 to {view.version} that were made from rollouts, not {wanted}"
            if view.version > 0
            else f"{run} has no version yet that was made from rollouts"
        )
    store = BlobStore(home / "blobs")
    works = await _works(lab, opened, wanted)
    history = await reader.history(view)
    rewards = dict(history.series("reward"))
    return Batch(
        run=run,
        version=wanted,
        groups=await _groups(lab, store, opened, wanted, works),
        recorded_reward=rewards.get(wanted),
        recipe=(await lab.fetch(opened.recipe, store)).read_bytes(),
        model=await _support(lab, store, opened, home),
        opened=opened,
    )


def _pace(opened: RunOpened) -> RlPace:
    if not isinstance(opened.pace, RlPace):
        raise TypeError(f"{opened.run} follows {opened.pace.programme}")
    return opened.pace


async def _works(lab: LabReader, opened: RunOpened, version: int) -> Sequence[AcceptedWork]:
    """From the lab's list, or, of versions before its newest checkpoint, from the ledger."""
    try:
        shown = await lab.read(Inputs, f"/runs/{opened.run}/updates/{version}")
    except LabRefused as refused:
        if refused.problem != NOT_FOUND:
            raise
        return await _works_in_ledger(lab, opened, version)
    return believed(lambda: inputs_of(shown, opened, version, lab.founding.labs))


def _batches(opened: RunOpened) -> Batches:
    pace = _pace(opened)
    return Batches(opened.terms.versions, pace.groups_per_update, pace.refill or 0)


def _holds(spec: RolloutSpec, batches: Batches, batch: int) -> bool:
    return any(batches.origin(group) == batch for group in spec.groups)


async def _works_in_ledger(
    lab: LabReader, opened: RunOpened, version: int
) -> Sequence[AcceptedWork]:
    batches = _batches(opened)
    missing = set(batches.first(version - 1))
    answers: dict[str, WorkAnswered] = {}
    found: list[AcceptedWork] = []
    async for entry in newest_first(lab):
        said = entry.statement
        if isinstance(said, WorkAnswered) and isinstance(said.answer, RolloutAnswer):
            answers[said.work] = said
        elif isinstance(said, LeaseGranted) and isinstance(said.spec, RolloutSpec):
            told = answers.get(said.work)
            is_ours = said.spec.run == opened.run and said.author == opened.lab
            if told is not None and is_ours and _holds(said.spec, batches, version - 1):
                missing -= set(said.spec.groups)
                found.append(AcceptedWork(work=said.work, spec=said.spec, answer=told.answer))
        if not missing or (isinstance(said, RunOpened) and said.run == opened.run):
            break
    if missing:
        raise NotKept(
            f"the ledger names no result for groups {sorted(missing)[:5]} of {opened.run}"
        )
    return found


async def _groups(
    lab: LabReader,
    store: BlobStore,
    opened: RunOpened,
    version: int,
    works: Sequence[AcceptedWork],
) -> list[SampledGroup]:
    pace = _pace(opened)
    batches, prompts = _batches(opened), _Prompts(lab, store, opened)
    found = []
    for each in works:
        spec, answer = each.spec, each.answer
        if not isinstance(spec, RolloutSpec) or not isinstance(answer, RolloutAnswer):
            raise NotKept(f"{each.work} is {spec.kind} work, expected rollout")
        bounds = bounds_of(pace, work=each.work, policy=spec.policy, num_groups=len(spec.groups))
        data = await _blob(lab, store, answer.result, f"the rollouts of version {version}")
        for index, rollouts in zip(spec.groups, unpack_rollouts(data, bounds), strict=True):
            if batches.origin(index) == version - 1:
                prompt, task = await prompts.of(index)
                found.append(SampledGroup(index, spec.version, prompt, rollouts, each.work, task))
    return sorted(found, key=lambda group: group.index)


_Rows = tuple[int, list[tuple[int, ...]], tuple[int, ...] | None]
"""As `unpack_tasks` gives them."""


class _Prompts:
    """Of any group of a run, each batch fetched once."""

    def __init__(self, lab: LabReader, store: BlobStore, opened: RunOpened) -> None:
        self._place = (lab, store, opened)
        self._size = _pace(opened).groups_per_update
        self._known: dict[int, _Rows | None] = {}

    async def of(self, group: int) -> tuple[tuple[int, ...] | None, int | None]:
        """(prompt, task), as far as they are told."""
        number, row = divmod(group, self._size)
        if number not in self._known:
            self._known[number] = await _prompts(*self._place, number)
        known = self._known[number]
        if known is None:
            return None, None
        _, rows, tasks = known
        return rows[row], None if tasks is None else tasks[row]


async def _prompts(
    lab: LabReader, store: BlobStore, opened: RunOpened, number: int
) -> _Rows | None:
    """The prompts of batch `number`; None when they are gone."""
    bringer = max(0, number - _pace(opened).max_staleness)
    page = await lab.get(f"/runs/{opened.run}/versions", since=bringer)
    blob = _named(page[0], opened, number, lab.founding.labs) if page else None
    if blob is None:
        blob = await prompt_blobs(lab, opened, number)
    if blob is None:
        return None
    try:
        data = await _blob(lab, store, blob, "prompts")
    except NotKept:
        return None
    return unpack_tasks(data)


def _named(sealed: str, opened: RunOpened, number: int, labs: frozenset[str]) -> BlobRef | None:
    believed(lambda: publication_of(sealed, opened, labs))
    said = decode(Envelope.from_json(sealed.encode()).payload)
    made = said.answer if isinstance(said, WorkAnswered) else None
    batches = made.prompts if isinstance(made, UpdateAnswer) else ()
    return next((each.blob for each in batches if each.batch == number), None)


async def _blob(lab: LabReader, store: BlobStore, blob: BlobRef, what: str) -> bytes:
    try:
        path = await lab.fetch(blob, store)
    except LabRefused as refused:
        if refused.problem != NOT_FOUND:
            raise
        raise NotKept(
            f"{what} are not at the lab any more: it keeps what its learner may still need (back to the "
            "newest checkpoint, run.checkpoint_every) and everything else for an hour"
        ) from None
    return path.read_bytes()


async def _support(lab: LabReader, store: BlobStore, opened: RunOpened, home: Path) -> Path:
    """Configuration and tokenizer of the run's model, in a folder of its own."""
    folder = home / "models" / folder_of(opened)
    for file in opened.model:
        if not file.name.endswith((".safetensors", ".index.json")):
            copy_file(await lab.fetch(file.blob, store), folder / file.name)
    return folder
