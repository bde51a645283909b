"""A small and a large model, trained here on mixed questions: what choosing between them is worth on questions that nobody was fitted on.

Parts: `Plan`, `Given`, `Found`, `Measurement`. Both models are trained by the supervised stage of a recipe, the large one deeper, wider and longer. Each is
then served as `archipel serve` does and asked one question at a time: the environment's dev part calibrates, its test part measures. What
it does not show: anything about large models, other mixtures, or many questions at once.
"""

import asyncio
import functools
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from archipel.bench.cascade_tasks import KINDS, questions, write_questions
from archipel.bench.cascade_ways import Worth, recovered_at, ways_of, worth_of
from archipel.bench.energy import Meter
from archipel.engine.capacity import EngineLimits
from archipel.records.recipe import Recipe
from archipel.serve.cascade.choosing import Outcome, Wish, calibrated, outcome
from archipel.serve.cascade.confidence import calibration_error
from archipel.serve.cascade.fitting import Evidence, Fitted, Rules, fit, told_of
from archipel.serve.cascade.measuring import Journal, Row, evidence_of, measure, said_of
from archipel.serve.cascade.policy import Models, digest_of, write_policy
from archipel.serve.cascade.probes import Probe, probes_of
from archipel.serve.served import How, Served, serve_folder
from archipel.training.environments.environment import make_environment
from archipel.training.sft import Progress
from archipel.training.start import start_model
from archipel.work.folders import folder_of

MAX_NEW_TOKENS = 24
CACHE_BYTES = 2**28
NUM_JOULES = 50


@dataclass(frozen=True)
class Size:
    """One of the two models."""

    width: int
    layers: int
    steps: int
    """Of supervision."""
    learning_rate: float


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    seed: int = 0
    small: Size = Size(64, 1, 1200, 3e-3)
    large: Size = Size(128, 4, 1600, 2e-3)
    questions: int = 30_000
    """Of all kinds and parts."""
    calibration: int = 600
    held_out: int = 1000
    resamples: int = 1000
    wish: float = 0.8
    """Of the large model's gain, that the calibrated policy is to keep."""


QUICK = Plan(
    small=Size(32, 1, 200, 3e-3),
    large=Size(64, 2, 500, 3e-3),
    questions=6000,
    calibration=100,
    held_out=100,
    resamples=200,
)


@dataclass(frozen=True)
class Share:
    """One kind of question under the calibrated policy."""

    kind: str
    num: int
    small: float
    large: float
    cascade: float
    share: float
    """To the large model."""
    apgr: float
    """Of the cascade within the kind, where the gate's knowledge of kinds is worth nothing; NaN where the large model gains nothing there."""


@dataclass(frozen=True)
class Found:
    """What came out."""

    small: float
    """Quality of each alone, on the held-out questions."""
    large: float
    gate_s: float
    """Seconds a question."""
    small_s: float
    large_s: float
    worths: tuple[Worth, ...]
    policy: Outcome
    """Of the policy that was calibrated for `Plan.wish`, on the held-out questions."""
    kept: float
    """Share of the large model's gain that it kept there."""
    error: float
    """Expected calibration error there."""
    kinds: tuple[Share, ...]
    joules: Mapping[str, float] = field(default_factory=dict)
    """A question, of each part, where the machine tells."""


@dataclass(frozen=True)
class Given:
    """Models and questions that are there, instead of those that are trained and drawn here."""

    small: Path
    large: Path
    probes: tuple[Probe, ...]
    """Half of them calibrate, half measure."""
    max_new_tokens: int


class Measurement:
    """In a folder of its own, where models and answers stay, so that whoever starts it again goes on."""

    def __init__(
        self, recipe: Recipe, plan: Plan, folder: Path, tell: Callable[[str], None]
    ) -> None:
        """recipe: of the supervised stage; its model and environment are replaced."""
        self._recipe, self._plan, self._tell = recipe, plan, tell
        self._folder = folder.absolute()

    def measure(self) -> Found:
        """All of it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        plan = self._plan
        rows = questions(KINDS, plan.questions, plan.seed)
        write_questions(self._folder / "questions.jsonl", rows)
        kinds = {question: kind for kind, question, _ in rows}
        small, large = (self._trained(name, size) for name, size in self._sizes)
        probes = [
            replace(probe, kind=kinds[probe.question])
            for split, num in (("dev", plan.calibration), ("test", plan.held_out))
            for probe in self._probes(split, num)
        ]
        given = Given(small, large, tuple(probes), MAX_NEW_TOKENS)
        return self._compared(given, plan.calibration)

    def measure_given(self, given: Given) -> Found:
        """Of models and questions that are there already."""
        self._folder.mkdir(parents=True, exist_ok=True)
        mixed = sorted(given.probes, key=lambda probe: probe.digest)
        return self._compared(replace(given, probes=tuple(mixed)), len(mixed) // 2)

    def _compared(self, given: Given, num_seen: int) -> Found:
        """The first of the questions calibrate, the others measure."""
        torch.set_num_threads(1)
        small, large = self._served("small", given.small), self._served("large", given.large)
        try:
            asked = self._asked(small, large, given)
            joules = self._joules(small, large, given)
        finally:
            small.desk.close()
            large.desk.close()
        seen, fresh = given.probes[:num_seen], given.probes[num_seen:]
        calibration = evidence_of([asked[probe.digest] for probe in seen])
        held_out = evidence_of([asked[probe.digest] for probe in fresh])
        fitted = fit(calibration)
        wish = Wish("quality", self._plan.wish)
        precision = small.about.precision, large.about.precision
        models = Models(digest_of(given.small), *precision)
        policy = calibrated(calibration, fitted, wish, models)
        write_policy(self._folder / "policy.json", policy)
        found = _found(held_out, fitted, policy.rules, [probe.kind for probe in fresh], self._plan)
        return replace(found, joules=joules)

    @property
    def _sizes(self) -> tuple[tuple[str, Size], ...]:
        return ("small", self._plan.small), ("large", self._plan.large)

    def _trained(self, name: str, size: Size) -> Path:
        """Its folder, trained now unless it is there."""
        out = self._folder / name
        if not out.exists():

            def on_step(progress: Progress) -> None:
                if progress.step % 50 == 0:
                    loss = progress.smoothed_loss or progress.loss
                    self._tell(f"{name}: step {progress.step}, loss {loss:.3f}")

            partial = self._folder / f"{name}.partial"
            start_model(self._recipe_of(size), out, on_step, partial)
            shutil.rmtree(partial, ignore_errors=True)
        return out

    def _recipe_of(self, size: Size) -> Recipe:
        base = self._recipe.model_dump()
        base["run"] |= {"seed": self._plan.seed}
        base["environment"] = {
            "name": "jsonl",
            "parameters": {
                "path": str(self._folder / "questions.jsonl"),
                "template": "{question}",
                "answer_kind": "text",
            },
        }
        base["model"] |= {
            "hidden_size": size.width,
            "num_layers": size.layers,
            "intermediate_size": size.width * 11 // 4 // 8 * 8,
            "max_position_embeddings": 96,
        }
        base["supervised"] |= {
            "steps": size.steps,
            "batch_size": 32,
            "learning_rate": size.learning_rate,
            "decay_steps": size.steps // 4,
        }
        return Recipe.model_validate(base)

    def _served(self, name: str, place: Path) -> Served:
        how = How(name, limits=EngineLimits(max_cache_bytes=CACHE_BYTES))
        return serve_folder(folder_of(place), how, datetime.now().astimezone())

    def _probes(self, split: str, num: int) -> list[Probe]:
        recipe = self._recipe_of(self._plan.small)
        environment = make_environment(recipe.environment, recipe.run.seed, None)
        return probes_of(recipe, environment, split, num)

    def _asked(self, small: Served, large: Served, given: Given) -> dict[str, Row]:
        """Each question, asked of both, in an order in which no part is measured at another hour than the other."""
        models = f"{digest_of(given.small)} {digest_of(given.large)} {given.max_new_tokens}"
        journal = Journal(self._folder / "answers.jsonl", models)
        count, num = 0, len(given.probes)

        def on_row(row: Row) -> None:
            nonlocal count
            count += 1
            if count % max(1, num // 16) == 0:
                self._tell(f"{count} of {num} questions answered by both")

        mixed = sorted(given.probes, key=lambda probe: probe.digest)
        rows = asyncio.run(measure(mixed, small, large, journal, given.max_new_tokens, on_row))
        return {row.probe: row for row in rows}

    def _joules(self, small: Served, large: Served, given: Given) -> dict[str, float]:
        """A question, of each alone, where the machine tells."""
        meter, found = Meter(), {}
        probes = given.probes[-NUM_JOULES:]
        for name, one in (("small", small), ("large", large)) if meter.is_here else ():

            async def ask(one: Served = one) -> None:
                for probe in probes:
                    await said_of(one, probe, given.max_new_tokens, datetime.now().astimezone())

            _, joules = meter.over(functools.partial(asyncio.run, ask()))
            if joules is not None:
                found[name] = joules / len(probes)
        return found


def _found(
    held_out: Evidence, fitted: Fitted, rules: Rules, kinds: Sequence[str], plan: Plan
) -> Found:
    told = told_of(fitted.gate, fitted.confidence, held_out)
    went, large = outcome(held_out, told, rules), told.to_large(rules)
    small_q, large_q = float(held_out.small.mean()), float(held_out.large.mean())
    answers = np.where(large, held_out.large, held_out.small)
    ways, shares = ways_of(held_out, told, fitted.confidence.alpha), []
    for kind in sorted(set(kinds)):
        of = np.array([each == kind for each in kinds])
        parts = (held_out.small[of], held_out.large[of], answers[of], large[of])
        little, much, given, asked = (float(part.mean()) for part in parts)
        within = recovered_at(ways[0], held_out, of)
        shares.append(Share(kind, int(of.sum()), little, much, given, asked, within))
    return Found(
        small=small_q,
        large=large_q,
        gate_s=float(held_out.gate_s.mean()),
        small_s=float(held_out.small_s.mean()),
        large_s=float(held_out.large_s.mean()),
        worths=tuple(worth_of(ways, held_out, plan.resamples)),
        policy=went,
        kept=(went.quality - small_q) / (large_q - small_q) if large_q > small_q else 0.0,
        error=calibration_error(told.confidence, held_out.suffices),
        kinds=tuple(shares),
    )
