"""A court of the adversary bench: a policy trained here, who answers by it, the door's check, and an audit.

Parts: `trained` (the policy, once for a folder), `Court` (its newest weights by one variant, with the older ones for
cheats). Law: what a court asks, checks and recomputes is what a run of this recipe would.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from archipel.bench.central import prepare
from archipel.bench.cheats import Forger, Groups, State
from archipel.bench.tasks import Tell
from archipel.engine.engine import LocalEngine
from archipel.engine.exact.replay import Recorded, Replayer
from archipel.engine.exact.scoring import arithmetic_named
from archipel.model.config import DecoderConfig
from archipel.model.directory import read_model, write_model
from archipel.model.tokenizer import tokenizer_named
from archipel.records.audits import looked_at
from archipel.records.payload import BadPayload
from archipel.records.recipe import Recipe
from archipel.records.requests import Request
from archipel.records.rollouts import RolloutBounds, check_rollouts, pack_rollouts, unpack_rollouts
from archipel.training.environments.environment import make_environment
from archipel.training.groups import group_request
from archipel.training.report import UpdateReport
from archipel.training.rl import reinforce
from archipel.training.trainer import Trainer

SECRET = b"adversaries"
_WORK, _POLICY = "bench.1", "sha256:" + "0" * 64


@dataclass(frozen=True)
class Policy:
    """Weights of every version that was trained, the newest last, and what they are weights of."""

    recipe: Recipe
    """With the versions and the seed of the bench."""
    config: DecoderConfig
    states: Sequence[State]
    newest: Path
    """Directory of the last of them."""


def of_bench(recipe: Recipe, updates: int, seed: int) -> Recipe:
    """The recipe with so many versions, in lock step."""
    run = recipe.run.model_copy(update={"versions": updates, "max_staleness": 0, "seed": seed})
    return recipe.model_copy(update={"run": run})


def trained(recipe: Recipe, updates: int, seed: int, folder: Path, tell: Tell) -> Policy:
    """The policy of this recipe, from its files in `folder` if it was trained before."""
    own = of_bench(recipe, updates, seed)
    place = folder / f"policy-{own.digest.removeprefix('sha256:')[:16]}"
    versions = [place / str(version) for version in range(updates + 1)]
    if not versions[-1].exists():
        _train(own, versions, tell)
    return read_policy(own, versions)


def read_policy(recipe: Recipe, versions: Sequence[Path]) -> Policy:
    """From model directories, the newest last."""
    decoders = [read_model(each, torch.bfloat16) for each in versions]
    states = [
        {name: weight.detach() for name, weight in each.named_parameters()} for each in decoders
    ]
    return Policy(recipe, decoders[-1].config, states, versions[-1])


def _train(recipe: Recipe, versions: Sequence[Path], tell: Tell) -> None:
    tell("training the policy: supervised stage")
    bench = prepare(recipe, SECRET)
    trainer = Trainer(bench.fresh_model(), recipe)

    def write(version: int) -> None:
        if not versions[version].exists():
            write_model(versions[version], trainer.published_state(), bench.config, bench.tokenizer)

    def on_update(report: UpdateReport) -> None:
        write(trainer.version)

    write(0)
    reinforce(trainer, bench.rehearsal(), on_update)
    tell(f"training the policy: {recipe.run.versions} updates done")


def difference(replayer: Replayer, recipe: Recipe, request: Request, groups: Groups) -> str | None:
    """What an audit by this replayer finds first in an answer of one group, in the part that the recipe has it look
    at; None: nothing.
    """
    root, record = (
        f"sha256:{hashlib.sha256(of).hexdigest()}" for of in (b"", request.key.encode())
    )
    chosen = looked_at(root, record, 0, len(groups[0]), round(recipe.audit.part * 1000))
    recorded = Recorded(request, {number: groups[0][number] for number in chosen})
    found = replayer.replay([recorded]).difference
    return None if found is None else found.what


class Court:
    """Who samples and who audits by the newest weights of a policy."""

    def __init__(self, policy: Policy) -> None:
        self._recipe, self._config, self._states = policy.recipe, policy.config, policy.states
        run = self._recipe.run
        self._tokenizer = tokenizer_named(self._recipe.model.tokenizer)
        self._environment = make_environment(self._recipe.environment, run.seed, SECRET)
        self._first = run.versions * run.groups_per_update

    def sit(self, variant: str) -> None:
        """Take the newest weights by this variant, on both sides."""
        numbers = arithmetic_named(variant, self._config)
        engine = LocalEngine(self._config, arithmetic=numbers)
        engine.load(self._states[-1])
        self.forger = Forger(engine, self._states)
        self._replayer = Replayer(numbers)
        self._replayer.load(self._states[-1])

    def requests(self, first: int, count: int) -> list[Request]:
        """What the run asks of these of its groups."""
        asked = range(self._first + first, self._first + first + count)
        parts = self._recipe, self._environment, self._tokenizer
        return [group_request(*parts, index) for index in asked]

    def refused(self, request: Request, groups: Groups) -> bool:
        """Whether the lab's door refuses the answer at once."""
        try:
            check_rollouts(self.packed(groups), self._bounds(request, len(groups)))
        except BadPayload:
            return True
        return False

    def differs(self, request: Request, groups: Groups) -> str | None:
        """What an audit of the answer finds first, in the part that the recipe has it look at; None: nothing."""
        return difference(self._replayer, self._recipe, request, groups)

    def packed(self, groups: Groups) -> bytes:
        """Answers as a node sends them."""
        return pack_rollouts(groups, work=_WORK, policy=_POLICY)

    def unpacked(self, data: bytes, like: Request, count: int) -> Groups:
        """So many groups of what was packed, each asked for as `like` was.

        Raises:
            BadPayload: the door would refuse them.
        """
        return [tuple(group) for group in unpack_rollouts(data, self._bounds(like, count))]

    def _bounds(self, request: Request, num_groups: int) -> RolloutBounds:
        return RolloutBounds(
            _WORK, _POLICY, num_groups, request.num_rollouts, request.max_new_tokens,
            self._config.vocab_size, request.stop_tokens,
        )  # fmt: skip
