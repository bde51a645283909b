"""Rollout work: sample every completion of the leased groups from one policy version."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from archipel.model.tokenizer import InvalidTokenizer, Tokenizer
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.programmes.rl import RlPace
from archipel.records.prompts import unpack_prompts
from archipel.records.requests import Request
from archipel.records.rollouts import pack_rollouts
from archipel.records.seeds import group_seed
from archipel.training.episodes import Conduct
from archipel.training.wording import NoPieces, Wording, wording_of
from archipel.work.episodes import played, sample
from archipel.work.kind import (
    Answer,
    Context,
    EngineChoice,
    Kind,
    Progress,
    WorkFailed,
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
        position=remembers_nothing,
        close=has_nothing_to_end,
        shared=False,
    )


class Rollouts:
    """Keeps the engines of the runs worked in lately, with the weights asked for last."""

    def __init__(self, choice: EngineChoice) -> None:
        self._policies = Policies()
        self._start = Engines(choice)
        self._seats = Seats(choice)
        self._conducts: Recent[Path, Conduct] = Recent()

    def run(self, spec: RolloutSpec, context: Context, progress: Progress) -> Answer:
        """Answer: file `rollouts`; values `policy` (the digest of the weights used), `num_tokens`, perhaps `exact`."""
        requests = rollout_requests(spec, context)
        self._start.require_room(context, requests)
        policy, contract = self._policies.advance(context, spec.policy), context.contract
        engine = self._seats.take(context, policy)
        self._start.require(engine, policy, context, requests)
        groups = sample(engine, requests, self._conduct(context), progress)
        used = policy.manifest.state
        path = context.scratch / "rollouts.safetensors"
        packed = pack_rollouts(groups, work=context.work, policy=used, exact=contract)
        path.write_bytes(packed)
        num_tokens = sum(rollout.num_sampled for group in groups for rollout in group)
        values = {"policy": used, "num_tokens": num_tokens, **by_contract(contract)}
        return Answer({"rollouts": path}, values)

    def _conduct(self, context: Context) -> Conduct | None:
        held = self._conducts.get(context.model)
        if held is not None:
            return held
        self._conducts.make_room(context.model)
        conduct = played(context.pace_as(RlPace), context.model)
        if conduct is not None:
            self._conducts.put(context.model, conduct)
        return conduct


def rollout_requests(spec: RolloutSpec, context: Context) -> list[Request]:
    """One request per group; seed and prompt depend on the group alone, never on who asks."""
    pace = context.pace_as(RlPace)
    wording = wording_by(pace, context.model)
    return requests_of(spec, pace, lambda blob: context.blobs[blob.digest].read_bytes(), wording)


def wording_by(pace: RlPace, model: Path) -> Wording | None:
    """What completions may say and which words end them, by a run's pace and the tokenizer in the directory `model`.

    Raises:
        WorkFailed: not with this tokenizer.
    """
    if pace.stop is None and pace.allowed is None:
        return None
    try:
        return wording_of(pace.stop or (), pace.allowed or "", _tokenizer(model))
    except (NoPieces, InvalidTokenizer) as error:
        raise WorkFailed(f"stop strings or allowed characters: {error}") from None


@lru_cache(4)
def _tokenizer(model: Path) -> Tokenizer:
    return Tokenizer.from_directory(model)


def requests_of(
    spec: RolloutSpec,
    pace: RlPace,
    read: Callable[[BlobRef], bytes],
    wording: Wording | None = None,
) -> list[Request]:
    """The same from a run's pace, with the batches of prompts as `read` gives them.

    Raises:
        WorkFailed: a group's prompt is in none of them.
    """
    prompts = _prompts(spec, read, pace.groups_per_update)
    requests = [
        Request(
            key=str(group),
            prompt=prompts[group],
            seed=group_seed(pace.seed, group),
            num_rollouts=pace.group_size,
            max_new_tokens=pace.max_new_tokens,
            temperature=pace.temperature_micro / 1e6,
            stop_tokens=pace.stop_tokens,
            cut=pace.cut,
        )
        for group in spec.groups
    ]
    return requests if wording is None else [wording.on(each) for each in requests]


def _prompts(
    spec: RolloutSpec, read: Callable[[BlobRef], bytes], groups_per_batch: int
) -> Mapping[int, tuple[int, ...]]:
    prompts: dict[int, tuple[int, ...]] = {}
    for blob in spec.prompts:
        batch, rows = unpack_prompts(read(blob))
        first = batch * groups_per_batch
        prompts |= {first + row: prompt for row, prompt in enumerate(rows)}
    missing = [group for group in spec.groups if group not in prompts]
    if missing:
        raise WorkFailed(f"the prompts of groups {missing[:5]} are in none of the named batches")
    return prompts
