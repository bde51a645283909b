"""A pretrained model adapted to a text by several members, beside a central run: held-out loss over bytes.

Members are held in one process and trained in turn, with the corpus, inner steps, codecs and merging of a run; there is no
lab and no network. What it does not show: seconds between machines, a node that cheats, or what a longer run would give.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import torch

from archipel.bench.adapt_ground import Ground
from archipel.bench.adapt_plan import TUNED, AdaptPlan, Kind, Way
from archipel.bench.adapt_ways import Job, Tell, train
from archipel.bench.kept import Asked, Kept


@dataclass(frozen=True)
class Found:
    """What one training run came to."""

    nats: float
    """Held-out loss a token."""
    tokens: int
    up: tuple[int, ...]
    """Bytes sent by each member."""
    down: tuple[int, ...]
    processor_s: float


@dataclass(frozen=True)
class Before:
    """Of the model as it is."""

    nats: float


@dataclass(frozen=True)
class Row:
    """One way with one seed."""

    way: Way
    seed: int
    rate: float
    before: float
    found: Found


@dataclass(frozen=True)
class Trial:
    """One rate tried for one kind of way."""

    kind: Kind
    rate: float
    nats: float
    """Of windows that are not held out."""


class AdaptBench:
    """One model and one text."""

    def __init__(
        self, plan: AdaptPlan, names: Asked, ground: Callable[[], Ground], folder: Path, tell: Tell
    ) -> None:
        """names: what the model and the text are known by. folder: where steps are kept, and members' state lies.

        Raises:
            NotOurs: the folder holds another's steps.
        """
        self._plan, self._names, self._ground = plan, names, cache(ground)
        self._folder, self._tell, self._kept = folder, tell, Kept(folder)

    def measure(self, on_trial: Callable[[Trial], None], on_row: Callable[[Row], None]) -> None:
        """Rates first, then every way and seed; what the folder has is not measured again.

        Raises:
            BadCorpus: the text does not suffice. Diverged: a rate is too high.
        """
        torch.set_num_threads(1)
        rates = {way.kind: self._rate(way, on_trial) for way in self._tuned()}
        for seed in self._plan.seeds:
            for way in self._plan.ways:
                job = Job(way, rates[way.tuned_as], seed, 0, self._plan.versions)
                found = self._kept.value(self._asked(job), Found, partial(self._found, job))
                before = self._kept.value(self._asked(None), Before, self._before).nats
                on_row(Row(way, seed, job.rate, before, found))

    def _tuned(self) -> list[Way]:
        wanted = {way.tuned_as for way in self._plan.ways}
        return [way for way in TUNED if way.kind in wanted]

    def _rate(self, way: Way, on_trial: Callable[[Trial], None]) -> float:
        """The best of the rates, tried on works that come after the run's."""
        plan = self._plan
        if len(plan.rates) == 1:
            return plan.rates[0]
        trials = []
        for rate in plan.rates:
            job = Job(way, rate, plan.seeds[0], plan.versions, plan.tuning_versions)
            asked = {**self._asked(job), "part": "adapt, a rate"}
            found = self._kept.value(asked, Found, partial(self._found, job, is_trial=True))
            trials.append(Trial(way.kind, rate, found.nats))
            on_trial(trials[-1])
        return min(trials, key=lambda each: (each.nats, each.rate)).rate

    def _found(self, job: Job, is_trial: bool = False) -> Found:
        on, began = self._ground(), time.process_time()
        ran = train(on, job, self._folder, self._tell)
        spent = time.process_time() - began
        nats = on.nats(ran.weights, on.tuned_on if is_trial else on.judged)
        return Found(nats, ran.tokens, ran.up, ran.down, spent)

    def _before(self) -> Before:
        on = self._ground()
        return Before(on.nats(on.start, on.judged))

    def _asked(self, job: Job | None) -> Asked:
        """All that a result follows from. None: of the model as it is."""
        plan = asdict(self._plan)
        for each in ("seeds", "names", "rates"):
            del plan[each]
        of_job = None if job is None else asdict(job)
        return {"part": "adapt", **self._names, "plan": plan, "job": of_job}


def names_of(model: Path, text: Path) -> Asked:
    """What the model directory and the text are known by: digests of their bytes.

    Raises:
        OSError: one of them cannot be read.
    """
    weights = sorted(model.glob("*.safetensors"))
    return {
        "model": [_digest(path) for path in (*weights, model / "config.json")],
        "text": _digest(text),
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
