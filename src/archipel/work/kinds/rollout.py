"""Rollout work: sample every completion of the leased groups from one policy version."""

from pathlib import Path

from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.programmes.rl import RlPace
from archipel.records.requests import Request
from archipel.records.rollouts import pack_rollouts
from archipel.records.tasks import tasks_of
from archipel.training.episodes import Conduct
from archipel.work.asked import requests_of, wording_by
from archipel.work.episodes import asked, played, sample
from archipel.work.kind import (
    Answer,
    Context,
    EngineChoice,
    Kind,
    MachineUnfit,
    Progress,
    by_class,
    by_contract,
    has_nothing_to_end,
    remembers_nothing,
)
from archipel.work.policies import Policies
from archipel.work.recent import Recent
from archipel.work.seats import Seats
from archipel.work.start_check import Engines


def make(choice: EngineChoice) -> Kind:
    """A fresh one."""
    return Kind(
        run=Rollouts(choice).run,
        remembers=remembers_nothing,
        close=has_nothing_to_end,
        shared=False,
    )


class Rollouts:
    """Keeps the engines of the runs worked in lately, with the weights asked for last."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._policies = Policies()
        self._start = Engines(choice)
        self._seats = Seats(choice)
        self._conducts: Recent[Path, Conduct] = Recent()

    def run(self, spec: RolloutSpec, context: Context, progress: Progress) -> Answer:
        """Answer: file `rollouts`; values `policy` (the digest of the weights used), `num_tokens`, perhaps `exact` or `engine`."""
        named = by_class(self._choice, context.engine_class)
        requests = rollout_requests(spec, context)
        self._start.require_room(context, requests)
        policy, contract = self._policies.advance(context, spec.policy), context.contract
        engine = self._seats.take(context, policy)
        self._start.require(engine, policy, context, requests)
        conduct = asked(context) or self._conduct(spec, context)
        groups = sample(engine, requests, conduct, progress)
        used = policy.manifest.state
        path = context.scratch / "rollouts.safetensors"
        experts = context.pace_as(RlPace).experts
        if experts is not None and any(each.experts is None for group in groups for each in group):
            raise MachineUnfit(
                "this run replays routing, and this machine's engine does not say which experts tokens were sent to; "
                "take engine default"
            )
        if context.pace_as(RlPace).fingerprints and any(
            each.fingerprints is None for group in groups for each in group
        ):
            raise MachineUnfit(
                "this run asks for fingerprints of activations, and this machine's engine shows none; take engine default"
            )
        packed = pack_rollouts(
            groups, work=context.work, policy=used, exact=contract, experts=experts
        )
        path.write_bytes(packed)
        num_tokens = sum(rollout.num_sampled for group in groups for rollout in group)
        values = {"policy": used, "num_tokens": num_tokens, **by_contract(contract), **named}
        return Answer({"rollouts": path}, values)

    def _conduct(self, spec: RolloutSpec, context: Context) -> Conduct | None:
        conduct = self._conducts.get(context.model)
        if conduct is None:
            self._conducts.make_room(context.model)
            conduct = played(context.pace_as(RlPace), context.model)
            if conduct is None:
                return None
            self._conducts.put(context.model, conduct)
        tasks = tasks_of(spec, context.pace_as(RlPace), lambda blob: _read(context, blob))
        return conduct if tasks is None else conduct.choosing(tasks.__getitem__)


def rollout_requests(spec: RolloutSpec, context: Context) -> list[Request]:
    """One request per group; seed and prompt depend on the group alone, never on who asks."""
    pace = context.pace_as(RlPace)
    wording = wording_by(pace, context.model)
    return requests_of(spec, pace, lambda blob: _read(context, blob), wording)


def _read(context: Context, blob: BlobRef) -> bytes:
    return context.blobs[blob.digest].read_bytes()
