"""Update work (trusted role): from accepted groups to the next policy version and the next prompts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from archipel.model.devices import free_bytes_on
from archipel.planning.laws.holding import RUNTIME
from archipel.records.kinds.update import UpdateSpec
from archipel.records.recipe import Recipe
from archipel.training.resuming import saved_policies
from archipel.training.sharding import this_site, wait_for_all
from archipel.work.accepted import count_tokens
from archipel.work.engines import config_here, device_of
from archipel.work.going_back import remembered, set_aside
from archipel.work.kind import (
    Answer,
    Context,
    EngineChoice,
    Kind,
    MachineUnfit,
    Progress,
    WorkFailed,
)
from archipel.work.learner import Learner
from archipel.work.messages import read_step
from archipel.work.recent import Recent
from archipel.work.remembered import GoBack, Remembered
from archipel.work.room import update_shortage

DEFAULT = EngineChoice()


def make(choice: EngineChoice) -> Kind:
    """A fresh one; it samples nothing, and learns on the device that was chosen."""
    updates = Updates(choice)
    return Kind(run=updates.run, remembers=updates.remembers, close=updates.close, shared=True)


class Updates:
    """Keeps the learners of the runs in work."""

    def __init__(self, choice: EngineChoice = DEFAULT) -> None:
        self._choice = choice
        self._learners: Recent[Path, Learner] = Recent(drop=Learner.close)
        """By its folder; another one continues from what is saved."""

    def run(self, spec: UpdateSpec, context: Context, progress: Progress) -> Answer:
        """Answer: files `manifest`, `delta`, `anchor`, `memory`, `prompts-<batch>`; values `policy`, `metrics`.

        1 load or restore the learner  2 replay what it missed  3 make the version, or, when an answer
        got lost on its way, give the one made before.
        """
        # 1
        with self._learner(spec, context) as learner:
            # 2
            tokens = 0
            for step in context.replay:
                if step.version == learner.version + 1:
                    past = context.as_of(read_step(step.file))
                    learner.replay(past)
                    tokens += count_tokens(past.inputs)
                    progress(tokens)
            # 3
            if learner.version == spec.version:
                return learner.first() if spec.version == 0 else learner.again(spec.version)
            _check_parent(learner, spec)
            return learner.make(context, spec.inputs)

    def remembers(self, run: str, memory: Path) -> tuple[Remembered, ...]:
        """The learner at hand, then those that were saved, the newest first."""
        held = self._learners.peek(memory)
        at_hand = None if held is None else (held.version, held.known_policy)
        return remembered(memory, at_hand, saved_policies(memory))

    def close(self) -> None:
        """Forget what is in memory; the next work starts from what is on disk."""
        self._learners.clear()

    @contextmanager
    def _learner(self, spec: UpdateSpec, context: Context) -> Iterator[Learner]:
        """The run's learner; one that fails may have learned what it could not write down, and goes."""
        learner = self._held_or_started(spec, context)
        try:
            yield learner
        except BaseException:
            learner.close()
            raise
        self._learners.put(learner.folder, learner)

    def _held_or_started(self, spec: UpdateSpec, context: Context) -> Learner:
        """The learner at hand, unless the run's checkpoint is newer; else one from disk."""
        folder = context.lasting
        told = spec.memory.version if spec.memory and context.checkpoint else -1
        if context.back is not None:
            self._go_back(folder, context.back)
        held = self._learners.take(folder)
        if held is not None and held.version >= told:
            return held
        if held is not None:
            held.close()
        del held  # two optimisers of one run at once may be more than the machine holds
        self._learners.make_room(folder)
        folder.mkdir(parents=True, exist_ok=True)
        device = device_of(self._choice)
        _require_room(context, device)
        return Learner(context, folder, told, device)

    def _go_back(self, folder: Path, back: GoBack) -> None:
        """Let go of what the ledger does not confirm. A collective: the ranks of a site share the folder."""
        held, site = self._learners.take(folder), this_site()
        if held is not None and held.version <= back.to:
            self._learners.put(folder, held)
        elif held is not None:
            held.close()
        if site.is_first and folder.is_dir():
            set_aside(folder, back)
        wait_for_all(site)


def _require_room(context: Context, device: torch.device) -> None:
    """Raises MachineUnfit: this machine has less memory than the run's update needs; nothing is loaded yet."""
    if this_site().world > 1:
        return  # each rank holds its share, and of another machine's memory nothing is known here
    recipe, there = context.recipe_as(Recipe), free_bytes_on(device)
    held = RUNTIME if there is None else 0
    short = update_shortage(recipe, config_here(context), held, there)
    if short is not None:
        raise MachineUnfit(short)


def _check_parent(learner: Learner, spec: UpdateSpec) -> None:
    if learner.version != spec.version - 1:
        raise WorkFailed(
            f"the trainer stands at version {learner.version}, version {spec.version} was asked; "
            f"if {learner.folder} belongs to another run of this name, move it away"
        )
    policy = learner.policy.manifest.state
    if policy != spec.parent:
        raise WorkFailed(
            f"version {learner.version} is {spec.parent} in the ledger, but this machine makes "
            f"it {policy}: trusted machines of one run must compute alike"
        )
