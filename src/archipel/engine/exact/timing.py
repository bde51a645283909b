"""What a decode step costs by one arithmetic beside others, on this machine and now.

Parts: `take_turns`, `ratio`. Law: engines take turns, in processor time of this process, so that whatever else the
machine does meets all of them alike.
"""

import statistics
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from archipel.engine.engine import LocalEngine
from archipel.engine.exact.scoring import arithmetic_named
from archipel.engine.noise import random_tokens
from archipel.engine.protocol import Ticket
from archipel.model.config import DecoderConfig
from archipel.records.requests import Request

CONTEXT = 64
"""Tokens before the first that is sampled, where the model has room."""
STEPS = 4
"""Of one engine before the next has its turn."""
WARM = 2
FEWEST_ROUNDS = 3


def take_turns(
    engines: Mapping[str, LocalEngine],
    config: DecoderConfig,
    batch: int,
    rounds: int,
    limit_s: float = float("inf"),
) -> dict[str, list[float]]:
    """Seconds of a decode step of `batch` sequences, by engine and round.

    rounds: at most, and no more after `limit_s` seconds once there are `FEWEST_ROUNDS`.
    """
    context = min(CONTEXT, config.max_position_embeddings // 4)
    room = config.max_position_embeddings - context
    times: dict[str, list[float]] = {name: [] for name in engines}
    waiting: dict[str, list[Ticket]] = {name: [] for name in engines}
    end = time.monotonic() + limit_s
    for index in range(rounds):
        if index >= FEWEST_ROUNDS and time.monotonic() > end:
            break
        for name in list(engines)[:: 1 if index % 2 == 0 else -1]:
            engine = engines[name]
            if index * STEPS % max(STEPS, room - 2 * STEPS) == 0:  # the model's positions end
                _cancel(engine, waiting[name])
                length = min(room, (rounds + 1) * STEPS + WARM)
                waiting[name] = [
                    engine.add(_request(config, i, context, length)) for i in range(batch)
                ]
                for _ in range(WARM):
                    engine.step()
            began = time.process_time()
            for _ in range(STEPS):
                engine.step()
            times[name].append((time.process_time() - began) / STEPS)
    for name, engine in engines.items():
        _cancel(engine, waiting[name])
    return times


def _request(config: DecoderConfig, index: int, context: int, num_new: int) -> Request:
    prompt = random_tokens(7, index % 8, context, config.vocab_size)
    return Request(str(index), prompt, index, 1, num_new)


def _cancel(engine: LocalEngine, tickets: Sequence[Ticket]) -> None:
    for ticket in tickets:
        engine.cancel(ticket)


@torch.inference_mode()
def ratio(
    config: DecoderConfig,
    state: Mapping[str, Tensor],
    names: tuple[str, str],
    batch: int,
    rounds: int,
    limit_s: float,
) -> float:
    """Median time of a step by the first of `names` over that by the second, on one thread, as nodes compute.

    names: see `scoring.arithmetic_named`.
    state: bf16.

    Raises:
        WrongWeights, NoBackend: one of the two cannot compute this model, or not here.
    """
    engines = {
        name: LocalEngine(config, arithmetic=arithmetic_named(name, config)) for name in names
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for engine in engines.values():
            engine.load(state)
        times = take_turns(engines, config, batch, rounds, limit_s)
    finally:
        torch.set_num_threads(threads)
    first, second = (statistics.median(times[name]) for name in names)
    return first / second
