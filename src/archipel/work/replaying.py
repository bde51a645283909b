"""Accepted rollouts of a run that is sampled by the exact contract, recomputed by anybody: no secret, no trust.

Parts: `Replaying` (results of one version after the other), `UnknownContract`. Law: what is compared is the
record and what the contract gives, in every bit; there is no threshold, and an honest node is never blamed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch

from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.replay import Difference, Recorded, Replayed, Replayer
from archipel.engine.exact.trace import Question
from archipel.engine.exact.variants import VARIANTS, Variant
from archipel.engine.protocol import WrongWeights
from archipel.model.config import DecoderConfig
from archipel.model.manifest import BadWeights, describe
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.programmes.rl import RlPace
from archipel.records.requests import InvalidRequest
from archipel.records.rollouts import Rollout
from archipel.records.samples import samples_of
from archipel.training.wording import Wording
from archipel.work.asked import requests_of
from archipel.work.bases import Base, Ground
from archipel.work.kind import WorkFailed
from archipel.work.policies import Policy

CANNOT_BE_REPLAYED = (WorkFailed, WrongWeights, BadWeights, InvalidRequest)
"""What the record itself does not allow: prompts, weights or rollouts that do not fit together."""


class UnknownContract(ValueError):
    """The run is not exact, or its contract is none that this software computes."""


def variant_of_contract(contract: str | None) -> Variant:
    """The variant under this identity.

    Raises:
        UnknownContract: there is none, or another version of this software has it.
    """
    if contract is None:
        raise UnknownContract(
            "this run is not sampled by the exact contract: its rollouts cannot be recomputed to the bit"
        )
    known = {variant.identity: variant for variant in VARIANTS.values()}
    if contract not in known:
        raise UnknownContract(
            f"this run is sampled by {contract!r:.60}; this version of archipel computes "
            f"{', '.join(known)}: install the version that the run was made with"
        )
    return known[contract]


class Replaying:
    """Recomputes results of the version whose weights were taken last."""

    def __init__(
        self,
        config: DecoderConfig,
        pace: RlPace,
        read: Callable[[BlobRef], bytes],
        base: Base | None = None,
        wording: Wording | None = None,
    ) -> None:
        """`read` gives a blob's bytes. base: the run's first weights, which adapters lie over. wording: which words end
        a completion, by the run's pace.

        Raises:
            UnknownContract: see `variant_of_contract`.
        """
        self._ground = None
        if pace.adapter is not None and base is not None:
            self._ground = Ground(base, pace.adapter)
        variant = variant_of_contract(pace.exact)
        # Blocks of many queries share each key that is unpacked: compact costs no time here.
        numbers = ExactArithmetic(config, variant, torch.device("cpu"), compact=True)
        self._wording = wording
        self._pace, self._read, self._replayer = pace, read, Replayer(numbers)
        self._contract, self._weights = variant.identity, ""

    def use(self, policy: Policy) -> None:
        """Take the weights of a version.

        Raises:
            WrongWeights: the contract cannot compute with them.
            BadWeights, WorkFailed: an adapter over other weights than the run's first.
        """
        if self._ground is not None:
            self._ground.check(policy.manifest)
        policy = replace(policy, ground=self._ground)
        state = policy.whole()
        self._replayer.load(state)
        self._weights = policy.manifest.state
        if policy.manifest.over is not None:
            # Two parties dispute about whole weights, which is what they hold.
            self._weights = describe(state, 0, None).state

    def replay(
        self,
        spec: RolloutSpec,
        groups: Mapping[int, Sequence[Rollout]],
        progress: Callable[[int], None] | None = None,
        chosen: Callable[[int, int], Iterable[int]] = lambda group, num: range(num),
    ) -> Replayed:
        """Recompute one accepted result; `progress` is told positions so far.

        chosen: (group, its rollouts) -> the numbers of those that are looked at.

        Raises:
            Whatever `read` raises, and what stands in `CANNOT_BE_REPLAYED`.
        """
        requests = requests_of(spec, self._pace, self._read, self._wording)
        recorded = [
            Recorded(
                request,
                {number: groups[group][number] for number in chosen(group, len(groups[group]))},
            )
            for group, request in zip(spec.groups, requests, strict=True)
        ]
        return self._replayer.replay(recorded, progress)

    def question(
        self, spec: RolloutSpec, groups: Mapping[int, Sequence[Rollout]], found: Difference
    ) -> Question | None:
        """The rollout that differs, as two parties could dispute it; None: it differs in a further sample of an
        episode, which no question names.
        """
        asked = requests_of(spec, self._pace, self._read, self._wording)
        requests = {each.key: each for each in asked}
        request = requests[found.key]
        whole = groups[int(found.key)][found.rollout]
        tokens = samples_of(request.prompt, whole)[0].rollout.tokens
        if found.position >= len(tokens):
            return None
        return Question(
            contract=self._contract,
            weights=self._weights,
            prompt=request.prompt,
            tokens=tokens,
            seed=request.seed,
            rollout=found.rollout,
            temperature=request.temperature,
        )
