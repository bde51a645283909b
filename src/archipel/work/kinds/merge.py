"""Merge work (trusted role): from accepted contributions to the next version, and a verdict on each."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archipel.records.kinds.merge import MergeSpec
from archipel.training.checkpoint import saved_facts
from archipel.work.going_back import noted_policies, remembered, set_aside
from archipel.work.kind import Answer, Context, EngineChoice, Kind, Progress, WorkFailed
from archipel.work.merger import Merger, count_tokens
from archipel.work.messages import read_step
from archipel.work.recent import Recent
from archipel.work.remembered import Remembered


def make(choice: EngineChoice) -> Kind:
    """A fresh one; it computes on the processor, where its bits are the same everywhere."""
    merges = Merges()
    return Kind(run=merges.run, remembers=merges.remembers, close=merges.close, shared=False)


class Merges:
    """Keeps the mergers of the runs in work."""

    def __init__(self) -> None:
        self._mergers: Recent[Path, Merger] = Recent()
        """By its folder; another one continues from what is saved."""

    def run(self, spec: MergeSpec, context: Context, progress: Progress) -> Answer:
        """Answer: files `manifest`, `delta`, `anchor`, `memory`, `gate`; values `policy`, `verdicts`, `metrics`, perhaps
        `next_gate`, `void`.

        1 load or restore the merger  2 merge what it missed  3 make the version, or, when an answer got lost on its
        way, give the one made before.
        """
        # 1
        with self._merger(spec, context) as merger:
            # 2
            tokens = 0
            for step in context.replay:
                if step.version == merger.version + 1:
                    past = context.as_of(read_step(step.file))
                    merger.replay(past)
                    tokens += count_tokens(past)
                    progress(tokens)
            # 3
            if merger.version == spec.version:
                return merger.first() if spec.version == 0 else merger.again(spec.version)
            _check_parent(merger, spec)
            return merger.make(context, progress, spec.inputs)

    def remembers(self, run: str, memory: Path) -> tuple[Remembered, ...]:
        """The merger at hand, then those that were saved, the newest first."""
        held = self._mergers.peek(memory)
        at_hand = None if held is None else (held.version, held.known_policy)
        return remembered(memory, at_hand, noted_policies(memory, saved_facts(memory)))

    def close(self) -> None:
        """Forget what is in memory; the next work starts from what is on disk."""
        self._mergers.clear()

    @contextmanager
    def _merger(self, spec: MergeSpec, context: Context) -> Iterator[Merger]:
        """The run's merger; one that fails may stand where nothing was written down, and goes."""
        merger = self._held_or_started(spec, context)
        yield merger
        self._mergers.put(merger.folder, merger)

    def _held_or_started(self, spec: MergeSpec, context: Context) -> Merger:
        """The merger at hand, unless the run's checkpoint is newer; else one from disk."""
        folder = context.lasting
        told = spec.memory.version if spec.memory and context.checkpoint else -1
        held = self._mergers.take(folder)
        if context.back is not None and folder.is_dir():
            held = held if held is not None and held.version <= context.back.to else None
            set_aside(folder, context.back)
        if held is not None and held.version >= told:
            return held
        self._mergers.make_room(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return Merger(context, folder, told)


def _check_parent(merger: Merger, spec: MergeSpec) -> None:
    if merger.version != spec.version - 1:
        raise WorkFailed(
            f"the merger stands at version {merger.version}, version {spec.version} was asked; if {merger.folder} belongs "
            "to another run of this name, move it away"
        )
    policy = merger.policy.manifest.state
    if policy != spec.parent:
        raise WorkFailed(
            f"version {merger.version} is {spec.parent} in the ledger, and this machine makes it {policy}: the first "
            "weights, the contributions or the held-out text here are not the run's"
        )
