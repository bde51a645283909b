"""Requests between a crew and its members: what several of them share, and no line can say of each, is told once.

Parts: `told` (requests -> message), `heard` (message -> requests), `cpu_left`. Law: what is heard samples what was told would.
"""

import resource
from collections.abc import Callable, Hashable, Sequence
from dataclasses import fields, replace
from typing import TypeVar

from archipel.model.pieces import Pieces
from archipel.model.stop_strings import StopStrings
from archipel.records.requests import Allowed, Request
from archipel.work.crew_messages import UNSAID, Part, Sample
from archipel.work.kind import MachineUnfit

T = TypeVar("T", bound=Hashable)


def told(requests: Sequence[Request], cpu_s: int | None) -> Sample:
    """The message that asks for them.

    Raises:
        MachineUnfit: something ends or steers them of which another process cannot be told.
    """
    allowed: dict[frozenset[int], int] = {}
    stops: dict[tuple[str, ...], int] = {}
    parts = []
    for request in requests:
        if request.steering is not None:
            raise MachineUnfit("several engines side by side cannot be steered; take one engine")
        plain = {
            each.name: getattr(request, each.name)
            for each in fields(Request)
            if each.name not in UNSAID
        }
        parts.append(
            Part(
                **plain,
                allowed=None
                if request.allowed is None
                else _place(request.allowed.tokens, allowed),
                stop=None if request.ending is None else _place(_texts(request), stops),
            )
        )
    return Sample(
        parts=tuple(parts),
        allowed=tuple(tuple(sorted(each)) for each in allowed),
        stops=tuple(stops),
        cpu_s=cpu_s,
    )


def heard(message: Sample, pieces: Callable[[], Pieces]) -> list[Request]:
    """What was asked. pieces: of the model's vocabulary; only called where a text ends a completion."""
    allowed = [Allowed(frozenset(each)) for each in message.allowed]
    endings = [StopStrings.of(each, pieces()) for each in message.stops]
    return [
        replace(
            part.request(),
            allowed=None if part.allowed is None else allowed[part.allowed],
            ending=None if part.stop is None else endings[part.stop],
        )
        for part in message.parts
    ]


def cpu_left() -> int | None:
    """Processor seconds that this process may still take; each member may take as many."""
    soft, _ = resource.getrlimit(resource.RLIMIT_CPU)
    if soft == resource.RLIM_INFINITY:
        return None
    used = resource.getrusage(resource.RUSAGE_SELF)
    return max(1, soft - int(used.ru_utime + used.ru_stime))


def _place(thing: T, places: dict[T, int]) -> int:
    return places.setdefault(thing, len(places))


def _texts(request: Request) -> tuple[str, ...]:
    if not isinstance(request.ending, StopStrings):
        raise MachineUnfit(
            f"several engines side by side cannot end completions by {type(request.ending).__name__}; take one engine"
        )
    return tuple(text.decode() for text in request.ending.texts)
