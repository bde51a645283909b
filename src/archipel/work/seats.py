"""Engines that stand ready with the policies of the runs worked in lately.

Parts: `Seats`; `seated` for one policy alone. Whole weights have an engine for each run; adapters over the same
weights share one, where several of them can be sampled from side by side. An engine that cannot keep an
adapter apart samples from the merged weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from archipel.engine.protocol import AdaptingEngine, Engine, Sampler
from archipel.records.backends import Backend
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.work.engines import ADAPTING, end, make_adapting_engine, make_engine, room_for
from archipel.work.kind import Context, EngineChoice
from archipel.work.policies import Policy
from archipel.work.recent import Recent


@dataclass(frozen=True, slots=True)
class WithAdapter:
    """A `Sampler`: an engine that samples whatever is asked of it with one of its adapters."""

    engine: AdaptingEngine
    name: str

    def generate(
        self, requests: Sequence[Request], on_progress: Callable[[int], None] | None = None
    ) -> list[tuple[Rollout, ...]]:
        """See `Sampler`."""
        named = [replace(request, adapter=self.name) for request in requests]
        return self.engine.generate(named, on_progress)


def seated(
    model: Path,
    policy: Policy,
    choice: EngineChoice,
    contract: str | None = None,
    backend: Backend = "archipel",
) -> Sampler:
    """An engine of its own for one policy, of the architecture in `model`.

    Raises:
        WorkFailed: see `make_engine`; or the weights under an adapter are not at hand.
    """
    adapter, ground = policy.adapter, policy.ground
    if adapter is None or ground is None or not keeps_apart(choice, contract):
        return make_engine(model, policy.whole(), choice, contract, backend)
    engine = make_adapting_engine(model, ground.base.state, choice, adapter.form.rank)
    engine.adapt(model.name, adapter)
    return WithAdapter(engine, model.name)


def keeps_apart(choice: EngineChoice, contract: str | None) -> bool:
    """Whether such an engine samples from an adapter over its base, without merging them."""
    return choice.name in ADAPTING and contract is None


class _Shared:
    """One engine and its adapters: the newest of each of the runs sampled last."""

    def __init__(self, engine: AdaptingEngine) -> None:
        self.engine = engine
        self._loaded: dict[str, str] = {}
        self._names: Recent[str, str] = Recent(drop=self._forget)

    def take(self, run: str, policy: Policy) -> Sampler:
        adapter, digest = policy.adapter, policy.manifest.state
        self._names.make_room(run)
        if adapter is not None and self._loaded.get(run) != digest:
            self.engine.adapt(run, adapter)
            self._loaded[run] = digest
        self._names.put(run, run)
        return WithAdapter(self.engine, run)

    def _forget(self, run: str) -> None:
        del self._loaded[run]
        self.engine.adapt(run, None)


class Seats:
    """Of one process."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._whole: Recent[Path, tuple[str, Engine]] = Recent(drop=lambda held: end(held[1]))
        self._shared: Recent[tuple[str, int], _Shared] = Recent(drop=lambda held: end(held.engine))
        """By the digest of the weights under the adapters, and the rank that there is room for."""

    def take(self, context: Context, policy: Policy) -> Sampler:
        """An engine that samples from this policy of the context's run.

        Raises:
            WorkFailed: see `make_engine`.
        """
        ground = policy.ground
        if ground is None or not keeps_apart(self._choice, context.contract):
            return self._with_whole(context, policy)
        key = ground.base.digest, room_for(self._choice, ground.form.rank)
        shared = self._shared.get(key)
        if shared is None:
            self._shared.make_room(key)
            rank = ground.form.rank
            shared = _Shared(
                make_adapting_engine(context.model, ground.base.state, self._choice, rank)
            )
            self._shared.put(key, shared)
        return shared.take(context.run, policy)

    def _with_whole(self, context: Context, policy: Policy) -> Sampler:
        self._whole.make_room(context.model)
        loaded, engine = self._whole.take(context.model) or ("", None)
        if engine is None:
            engine = make_engine(
                context.model, policy.whole(), self._choice, context.contract, context.backend
            )
        elif loaded != policy.manifest.state:
            engine.load(policy.whole())
        self._whole.put(context.model, (policy.manifest.state, engine))
        return engine
