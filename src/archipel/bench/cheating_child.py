"""A work process that cheats: `python -m archipel.bench.cheating_child CHEAT SHARE` is `work.child`, but for what it samples."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

from archipel.bench.cheating import is_forged
from archipel.bench.cheats import CHEATS, UNDER_FINGERPRINTS, Forger
from archipel.engine.engine import LocalEngine
from archipel.records.requests import Request
from archipel.work import child, episodes
from archipel.work.kinds import rollout

NEEDED = 6
"""Versions that the oldest cheat looks back to."""
_honest_load, _honest_sample = LocalEngine.load, episodes.sample


class _Quiet:
    """The engine as a forger has it: weights that it loads are not the run's."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine

    def load(self, state: Mapping[str, Tensor]) -> None:
        _honest_load(self._engine, state)

    def generate(self, *asked: Any) -> Any:
        return self._engine.generate(*asked)


def cheat(name: str, share: float) -> None:
    """From here on this process samples by the cheat of that name in this share of its works."""
    given: WeakKeyDictionary[LocalEngine, list[Mapping[str, Tensor]]] = WeakKeyDictionary()
    forge = {**CHEATS, **UNDER_FINGERPRINTS}[name]

    def load(self: LocalEngine, state: Mapping[str, Tensor]) -> None:
        kept = {key: each.clone() for key, each in state.items()}
        given[self] = [*given.get(self, [])[1 - NEEDED :], kept]
        _honest_load(self, state)

    def sample(engine: Any, requests: Sequence[Request], *rest: Any) -> Any:
        if not isinstance(engine, LocalEngine) or not is_forged(int(requests[0].key), share):
            return _honest_sample(engine, requests, *rest)
        return forge(Forger(_Quiet(engine), given[engine]), requests)

    LocalEngine.load = load  # type: ignore[method-assign]  # that is the cheat
    rollout.sample = sample  # type: ignore[attr-defined, assignment]  # and that


if __name__ == "__main__":
    cheat(sys.argv[1], float(sys.argv[2]))
    sys.argv = sys.argv[:1]
    child.serve()
