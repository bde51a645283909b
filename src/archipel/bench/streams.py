"""How long people wait on an engine that others use too: between two tokens, and for the first one.

Seconds by the clock that is given: wall time says what people feel, the thread's own what the engine took, which a
busy machine distorts less. Everything that was asked here is cancelled at the end.
"""

from collections.abc import Callable

from archipel.engine.protocol import OpenEngine
from archipel.records.requests import Request

Clock = Callable[[], float]
BEFORE = 4
"""Tokens of a stream before anybody disturbs it."""


def worst_gap(engine: OpenEngine, stream: Request, entering: Request, clock: Clock) -> float:
    """Longest time between tokens of `stream` from when `entering` comes to the token after its first.

    `stream` must have more tokens to say than that takes steps.
    """
    running, gaps = engine.add(stream), list[float]()
    for _ in range(BEFORE):
        engine.step()
    comes, last_s, has_entered = engine.add(entering), clock(), False
    while True:
        said = {event.ticket for event in engine.step()}
        if running in said:
            gaps.append(clock() - last_s)
            last_s = clock()
            if has_entered:
                break
        has_entered |= comes in said
    engine.cancel(running)
    engine.cancel(comes)
    return max(gaps)


def first_token(engine: OpenEngine, request: Request, clock: Clock) -> float:
    """From asking to the first token."""
    begun_s, ticket = clock(), engine.add(request)
    while not any(event.ticket == ticket for event in engine.step()):
        pass
    took_s = clock() - begun_s
    engine.cancel(ticket)
    return took_s
