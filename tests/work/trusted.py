"""A lab's view of one trusted role, with real weights: what it asked, what it accepted."""

import asyncio
from pathlib import Path

from archipel.node.going_back import confirmed
from archipel.records.canonical import sha256_digest
from archipel.records.documents import AcceptedWork, inputs_digest
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.kinds.update import UpdateSpec
from archipel.records.prompts import unpack_prompts
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout, pack_rollouts
from archipel.records.words import Memory, SavedMemory
from archipel.work.kind import Answer, Context
from archipel.work.kinds.merge import Merges
from archipel.work.kinds.update import Updates
from archipel.work.messages import ReplayMessage, ReplayStep, write_step
from tiny import NAME, SECRET, tiny_recipe
from work import asked
from work.asked import NOTHING, TOKENIZER


def recipe_of(checkpoint_every: int, versions: int = 3) -> Recipe:
    recipe = tiny_recipe(versions, staleness=0)
    run = recipe.run.model_copy(update={"checkpoint_every": checkpoint_every})
    return recipe.model_copy(update={"run": run})


RECIPE = recipe_of(checkpoint_every=100)


def position_of(kind: Updates | Merges, memory: Path) -> int:
    """Version that it goes on from where the ledger confirms all that it remembers; -1: none."""
    return next((each.version for each in kind.remembers("any", memory)), -1)


class Trusted:
    """A lab's view of one trusted role: what it asked, what it accepted."""

    def __init__(self, folder: Path, start: Path, recipe: Recipe = RECIPE) -> None:
        self.folder = folder
        self.start = start
        self.recipe = recipe
        self.policies: list[str] = []
        self.inputs: list[tuple[AcceptedWork, ...]] = [()]
        self.blobs: dict[str, Path] = {}
        self.prompts: dict[int, list[tuple[int, ...]]] = {}
        self.memory: SavedMemory | None = None

    def context(self, memory: str, position: int) -> Context:
        """As an agent lays it ready for a child that stands at `position`."""
        told = self.memory is not None and position < self.memory.version
        if self.memory is not None and told:
            position = self.memory.version
        return asked.context(
            self.recipe,
            self.start,
            self.folder,
            blobs=self.blobs,
            memory=self.folder / memory,
            secret=SECRET,
            recipe=self.recipe.canonical_bytes(),
            inputs=self.inputs[-1],
            replay=tuple(
                self._step(version) for version in range(max(position, 0) + 1, len(self.policies))
            ),
            checkpoint=self.blobs[self.memory.blob.digest] if self.memory and told else None,
        )

    def _step(self, version: int) -> ReplayMessage:
        file = self.folder / f"step-{version}"
        write_step(file, ReplayStep(inputs=self.inputs[version], blobs=self.blobs))
        return ReplayMessage(version=version, file=file)

    def spec(self) -> UpdateSpec:
        version = len(self.policies)
        return UpdateSpec(
            run=NAME,
            version=version,
            parent=self.policies[-1] if version else None,
            inputs=inputs_digest(self.inputs[-1]) if version else None,
            memory=self.memory,
        )

    def ask(self, kind: Updates, memory: str) -> Answer:
        """Ask `kind` for the next version."""
        spec, place = self.spec(), self.folder / memory
        known = kind.remembers(NAME, place) if place.is_dir() else ()
        policies = self.policies

        async def policy_of(version: int) -> str | None:
            return policies[version] if version < len(policies) else None

        needed = Memory.before(spec.version, self.memory, spec.parent)
        position, back = asyncio.run(confirmed(known, needed, spec.inputs, policy_of))
        context = self.context(memory, position).model_copy(update={"back": back})
        return kind.run(spec, context, lambda tokens: None)

    def cut(self, version: int) -> None:
        """The ledger goes on from where `version` was published: what came after is in it no more."""
        self.policies = self.policies[: version + 1]
        self.inputs = self.inputs[: version + 2]
        if self.memory is not None and self.memory.version > version:
            self.memory = None

    def accept(self, answer: Answer) -> None:
        """The version is published; nodes sample the next batch from it."""
        self.policies.append(answer.values["policy"])
        for name, path in answer.files.items():
            if name.startswith("prompts-"):
                batch, prompts = unpack_prompts(path.read_bytes())
                self.prompts[batch] = prompts
        version = len(self.policies) - 1
        if "memory" in answer.files:
            blob = self._kept(f"memory-{version}", answer.files["memory"].read_bytes())
            self.memory = SavedMemory(version=version, blob=blob)
        if version < self.recipe.run.versions:
            self.inputs.append((self._sampled(version),))

    def _kept(self, name: str, data: bytes) -> BlobRef:
        path = self.folder / name
        path.write_bytes(data)
        blob = BlobRef(digest=sha256_digest(data), size=len(data))
        self.blobs[blob.digest] = path
        return blob

    def resample(self) -> None:
        """The newest batch as it was answered by another work, to whoever continues the ledger."""
        self.inputs[-1] = (self._sampled(len(self.policies) - 1, "tiny.900"),)

    def _sampled(self, batch: int, work: str | None = None) -> AcceptedWork:
        """Both orders of each prompt's two letters: one of them earns something."""
        work, policy, run = work or f"tiny.{batch + 2}", self.policies[-1], self.recipe.run
        groups = []
        for prompt in self.prompts[batch]:
            letters = prompt[-3:-1]
            ways = [(*letters, TOKENIZER.eos_id), (*letters[::-1], TOKENIZER.eos_id)]
            rollouts = [Rollout(tokens, (-0.7, -0.1, -0.1), True) for tokens in ways]
            groups.append(rollouts * (run.group_size // 2))
        blob = self._kept(f"result-{batch}", pack_rollouts(groups, work=work, policy=policy))
        size = run.groups_per_update
        indices = tuple(range(batch * size, (batch + 1) * size))
        spec = RolloutSpec(
            run=NAME, version=batch, policy=policy, groups=indices, prompts=(NOTHING,)
        )
        answer = RolloutAnswer(
            policy=policy, result=blob, num_tokens=3 * size * run.group_size, busy_ms=1
        )
        return AcceptedWork(work=work, spec=spec, answer=answer)
