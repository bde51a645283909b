"""A work process that cheats: `python tests/adversaries/child.py CHEAT SHARE` is `archipel.work.child`, but for what it samples."""

import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from archipel.bench.cheats import CHEATS, Forger
from archipel.engine.engine import LocalEngine
from archipel.work import child
from archipel.work.kinds import rollout

STATES: list[Mapping[str, Tensor]] = []
NEEDED = 6
"""Versions that the oldest cheat looks back to."""
_honest_load, _honest_sample = LocalEngine.load, rollout.sample


class _Quiet:
    """The engine as a forger has it: weights that it loads are not the run's."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine

    def load(self, state: Mapping[str, Tensor]) -> None:
        _honest_load(self._engine, state)

    def generate(self, *asked: Any) -> Any:
        return self._engine.generate(*asked)


def cheat(name: str, share: float) -> None:
    draw = random.Random(name)

    def load(self: LocalEngine, state: Mapping[str, Tensor]) -> None:
        STATES[:] = [*STATES[1 - NEEDED :], {key: each.clone() for key, each in state.items()}]
        _honest_load(self, state)

    def sample(engine: Any, requests: Sequence[Any], *rest: Any) -> Any:
        if not isinstance(engine, LocalEngine) or draw.random() >= share:
            return _honest_sample(engine, requests, *rest)
        return CHEATS[name](Forger(_Quiet(engine), STATES), requests)

    LocalEngine.load = load  # type: ignore[method-assign]  # that is the cheat
    rollout.sample = sample


if __name__ == "__main__":
    cheat(sys.argv[1], float(sys.argv[2]))
    sys.argv = sys.argv[:1]
    child.serve()
