"""A model's weights held in 32, 16, 8 and 4 bits, in one process: what is lost, what a step takes, what guesses save.

Parts: `Plan`, `measure`, `table`. What is lost: texts that the model samples itself in fp32 are scored again, and the
divergence (nats a token) is estimated from both log-probabilities, by the mean of r - 1 - log r with r = q / p, which
is unbiased and never negative (J. Schulman, "Approximating KL divergence", 2020). Steps: all forms take turns in an
order drawn anew, in the thread's processor time, so that work beside them counts little. Guesses: greedy answers to a
passage said twice, with and without tokens guessed from it; equal answers are held.
What it does not show: texts of people, other machines.
"""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine, Request
from archipel.engine.lookup import LookUp
from archipel.engine.noise import random_tokens
from archipel.engine.quantised.arithmetic import WEIGHTS, Weights, arithmetic_for
from archipel.model.directory import read_model

Tell = Callable[[str], None]
CACHE_BYTES = 1 << 30
_FULL: Weights = "float32"


class Changed(RuntimeError):
    """An answer is another with guesses than without."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    texts: int = 16
    """Sampled in fp32 and scored by every form."""
    new: int = 64
    """Tokens of each text."""
    prompt: int = 16
    batches: tuple[int, ...] = (1, 8)
    """Sequences that are stepped at once."""
    steps: int = 16
    """Of each form in a round."""
    rounds: int = 4
    passage: int = 32
    """Tokens that are said twice before they are asked for again."""


QUICK = Plan(texts=4, new=24, steps=6, rounds=2)


def measure(model: Path, plan: Plan, tell: Tell) -> dict[str, Any]:
    """Every form of the weights in this directory; ready for JSON."""
    engines = {}
    for weights in WEIGHTS:
        tell(f"loading {weights}")
        engines[weights] = _engine(model, weights, guesses=False)
    found: dict[str, dict[str, Any]] = {weights: {} for weights in WEIGHTS}
    texts = _texts(engines[_FULL], plan)
    for weights, engine in engines.items():
        tell(f"scoring by {weights}")
        found[weights] |= _lost(engine, texts)
    for batch in plan.batches:
        tell(f"steps of {batch}")
        for weights, times in _steps(engines, batch, plan).items():
            found[weights][f"step_ms_{batch}"] = times
    for weights in WEIGHTS:
        tell(f"guesses in {weights}")
        found[weights] |= _guessed(
            engines.pop(weights), _engine(model, weights, guesses=True), plan
        )
    return {"model": model.resolve().name, "batches": plan.batches, "held": found}


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    batches = result["batches"]
    heads = "".join(f"{f'step of {batch}, ms':>18}" for batch in batches)
    lines = [
        f"{result['model']}, weights held in",
        f"{'':<10}{'divergence, nats':>18}{heads}{'steps, guessing':>18}{'time, guessing':>16}",
    ]
    for weights, row in result["held"].items():
        times = "".join(f"{statistics.median(row[f'step_ms_{batch}']):>18.1f}" for batch in batches)
        lines.append(
            f"{weights:<10}{row['divergence']:>18.2g}{times}"
            f"{row['steps_guessing'] / row['steps']:>18.2f}{row['s_guessing'] / row['s']:>16.2f}"
        )
    return "\n".join([*lines, "medians of processor time; guessing: of the steps and time without"])


def _engine(model: Path, weights: Weights, *, guesses: bool) -> LocalEngine:
    network = read_model(model)
    engine = LocalEngine(
        network.config,
        limits=EngineLimits.serving(CACHE_BYTES),
        arithmetic=arithmetic_for(weights, network.config),
        drafter=LookUp() if guesses else None,
    )
    engine.load(network.state_dict())
    return engine


def _texts(engine: LocalEngine, plan: Plan) -> list[tuple[Request, Any]]:
    """What the model says at temperature 1 behind tokens drawn for each text."""
    requests = [
        Request(
            key=f"text {number}",
            prompt=random_tokens(number, 1, plan.prompt, engine.config.vocab_size),
            seed=number,
            num_rollouts=1,
            max_new_tokens=plan.new,
        )
        for number in range(plan.texts)
    ]
    return [(each, said) for each, (said,) in zip(requests, engine.generate(requests), strict=True)]


def _lost(engine: LocalEngine, texts: Sequence[tuple[Request, Any]]) -> dict[str, float]:
    logs = [
        np.array(engine.score(request.prompt, [said.tokens])[0]) - np.array(said.logprobs)
        for request, said in texts
    ]
    log_r = np.concatenate(logs)
    return {
        "divergence": float((np.expm1(log_r) - log_r).mean()),
        "largest_difference": float(np.abs(log_r).max()),
    }


def _steps(engines: dict[Weights, LocalEngine], batch: int, plan: Plan) -> dict[Weights, Any]:
    """Milliseconds of the thread in each step."""
    found: dict[Weights, list[float]] = {weights: [] for weights in engines}
    for turn in range(plan.rounds):
        order = list(engines)
        random.Random(f"{batch} {turn}").shuffle(order)  # noqa: S311  no secret
        for weights in order:
            found[weights] += _timed(engines[weights], batch, turn, plan)
    return found


def _timed(engine: LocalEngine, batch: int, turn: int, plan: Plan) -> list[float]:
    vocabulary = engine.config.vocab_size
    tickets = [
        engine.add(
            Request(
                key=f"{row}",
                prompt=random_tokens(turn, row, plan.prompt, vocabulary),
                seed=row,
                num_rollouts=1,
                max_new_tokens=plan.steps + batch + 4,
            )
        )
        for row in range(batch)
    ]
    while len(engine.step()) < batch:
        pass
    times = []
    for _ in range(plan.steps):
        began = time.thread_time()
        engine.step()
        times.append(1000 * (time.thread_time() - began))
    for ticket in tickets:
        engine.cancel(ticket)
    return times


def _guessed(plain: LocalEngine, guessing: LocalEngine, plan: Plan) -> dict[str, float]:
    """Steps and seconds of a greedy answer without guesses and with them.

    Raises:
        Changed: the answers differ.
    """
    passage = random_tokens(7, 7, plan.passage, plain.config.vocab_size)
    asked = Request(
        key="again",
        prompt=passage + passage + passage[: plan.passage // 4],
        seed=0,
        num_rollouts=1,
        max_new_tokens=plan.new,
        temperature=0.0,
    )
    (answer, steps, seconds), (other, fewer, less) = (
        _run(each, asked) for each in (plain, guessing)
    )
    if answer != other:
        raise Changed(
            "an answer is another with guessed tokens than without; run the tests of the engine"
        )
    return {"steps": steps, "s": seconds, "steps_guessing": fewer, "s_guessing": less}


def _run(engine: LocalEngine, asked: Request) -> tuple[Any, int, float]:
    """The answer, the steps that gave tokens, and the thread's seconds in them."""
    engine.add(asked)
    steps, seconds, answer = 0, 0.0, None
    while engine.has_work:
        began = time.thread_time()
        events = engine.step()
        if len(events):
            steps, seconds = steps + 1, seconds + time.thread_time() - began
        for each in events.ended.values():
            answer = (each.tokens, each.logprobs)
    return answer, steps, seconds
