"""A small and a large model, trained here on mixed questions: what choosing between them is worth on questions that nobody was fitted on.

Parts: `Plan`, `Found`, `Measurement`. Both models are trained by the supervised stage of a recipe, the large one deeper, wider and longer. Each is
then served as `archipel serve` does and asked one question at a time: the environment's dev part calibrates, its test part measures. What
it does not show: anything about large models, other mixtures, or many questions at once.
"""

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from archipel.bench.cascade_tasks import KINDS, questions, write_questions
from archipel.bench.cascade_ways import Worth, ways_of, worth_of
from archipel.bench.energy import Meter
from archipel.engine.capacity import EngineLimits
from archipel.records.recipe import Recipe
from archipel.serve.cascade.choosing import Outcome, Wish, calibrated, outcome
from archipel.serve.cascade.confidence import calibration_error
from archipel.serve.cascade.fitting import Evidence, Fitted, fit, told_of
from archipel.serve.cascade.measuring import Journal, Row, evidence_of, measure
from archipel.serve.cascade.policy import digest_of, write_policy
from archipel.serve.cascade.probes import Probe, probes_of
from archipel.serve.served import How, Served, serve_folder
from archipel.training.environments.environment import make_environment
from archipel.training.sft import Progress
from archipel.training.start import start_model
from archipel.work.folders import folder_of

MAX_NEW_TOKENS = 24
CACHE_BYTES = 2**26


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
        torch.set_num_threads(1)
        self._folder.mkdir(parents=True, exist_ok=True)
        plan = self._plan
        rows = questions(KINDS, plan.questions, plan.seed)
        write_questions(self._folder / "questions.jsonl", rows)
        kinds = {question: kind for kind, question, _ in rows}
        folders = [self._trained(name, size) for name, size in self._sizes]
        small, large = (self._served(name) for name, _ in self._sizes)
        try:
            seen, fresh = self._probes("dev", plan.calibration), self._probes("test", plan.held_out)
            asked = self._asked(small, large, (*seen, *fresh), folders)
            joules = self._joules(small, large, fresh[:50])
        finally:
            small.desk.close()
            large.desk.close()
        calibration = evidence_of([asked[probe.digest] for probe in seen])
        held_out = evidence_of([asked[probe.digest] for probe in fresh])
        fitted = fit(calibration)
        told = [kinds[probe.question] for probe in fresh]
        return self._found(calibration, held_out, fitted, told, joules)

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

    def _served(self, name: str) -> Served:
        how = How(name, limits=EngineLimits(max_cache_bytes=CACHE_BYTES))
        folder = folder_of(self._folder / name)
        return serve_folder(folder, how, datetime.now().astimezone())

    def _probes(self, split: str, num: int) -> list[Probe]:
        recipe = self._recipe_of(self._plan.small)
        environment = make_environment(recipe.environment, recipe.run.seed, None)
        return probes_of(recipe, environment, split, num)

    def _asked(
        self, small: Served, large: Served, probes: Sequence[Probe], folders: Sequence[Path]
    ) -> dict[str, Row]:
        """Each question, asked of both, in an order in which no part is measured at another hour than the other."""
        journal = Journal(
            self._folder / "answers.jsonl", " ".join(digest_of(each) for each in folders)
        )
        count = 0

        def on_row(row: Row) -> None:
            nonlocal count
            count += 1
            if count % 100 == 0:
                self._tell(f"{count} of {len(probes)} questions answered by both")

        mixed = sorted(probes, key=lambda probe: probe.digest)
        rows = asyncio.run(measure(mixed, small, large, journal, MAX_NEW_TOKENS, on_row))
        return {row.probe: row for row in rows}

    def _joules(self, small: Served, large: Served, probes: Sequence[Probe]) -> dict[str, float]:
        meter = Meter()
        if not meter.is_here:
            return {}
        from archipel.serve.cascade.measuring import said_of

        found = {}
        for name, one in (("small", small), ("large", large)):

            async def ask(one: Served = one) -> None:
                for probe in probes:
                    await said_of(one, probe, MAX_NEW_TOKENS, datetime.now().astimezone())

            _, joules = meter.over(lambda ask=ask: asyncio.run(ask()))  # type: ignore[misc]
            if joules is not None:
                found[name] = joules / len(probes)
        return found

    def _found(
        self,
        calibration: Evidence,
        held_out: Evidence,
        fitted: Fitted,
        kinds: Sequence[str],
        joules: Mapping[str, float],
    ) -> Found:
        told = told_of(fitted.gate, fitted.confidence, held_out)
        wish = Wish("quality", self._plan.wish)
        policy = calibrated(calibration, fitted, wish, digest_of(self._folder / "small"))
        write_policy(self._folder / "policy.json", policy)
        went = outcome(held_out, told, policy.rules)
        large = told.to_large(policy.rules)
        small_q, large_q = float(held_out.small.mean()), float(held_out.large.mean())
        answers = np.where(large, held_out.large, held_out.small)
        shares = []
        for kind in KINDS:
            of = np.array([each == kind for each in kinds])
            if of.any():
                parts = (held_out.small[of], held_out.large[of], answers[of], large[of])
                shares.append(Share(kind, int(of.sum()), *(float(part.mean()) for part in parts)))
        return Found(
            small=small_q,
            large=large_q,
            gate_s=float(held_out.gate_s.mean()),
            small_s=float(held_out.small_s.mean()),
            large_s=float(held_out.large_s.mean()),
            worths=tuple(
                worth_of(
                    ways_of(held_out, told, fitted.confidence.alpha), held_out, self._plan.resamples
                )
            ),
            policy=went,
            kept=(went.quality - small_q) / (large_q - small_q) if large_q > small_q else 0.0,
            error=calibration_error(told.confidence, held_out.suffices),
            kinds=tuple(shares),
            joules=joules,
        )
