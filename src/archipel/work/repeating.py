"""A contribution made again by somebody else, from what everybody has: all of its inner steps, and its payload.

Parts: `Repeating`, `distance` (how far a payload lies from what it should be). On one class of machine every state that
was committed to and every byte that was sent is compared; where bits do not repeat, payloads are compared by length.
Law: of a run whose members remember nothing a contribution follows from its version, its text and its index, so nothing
is asked of whoever made it.
"""

import math
from collections.abc import Iterable

import torch

from archipel.model.config import DecoderConfig
from archipel.model.network import Decoder
from archipel.records.canonical import sha256_digest
from archipel.records.kinds.audit import DISTANCE, Difference
from archipel.records.kinds.inner_step import MAX_MACHINE, InnerStepAnswer, InnerStepSpec
from archipel.records.measures import MOST, NANO, Measured
from archipel.records.programmes.pretrain import PretrainPace
from archipel.training.exchange import BadContribution, CannotEncode, codec_of
from archipel.training.exchange.codec import Codec, Tensors, shapes_of
from archipel.training.exchange.table import Shapes
from archipel.training.inner.member import Member, Trained
from archipel.training.inner.state import machine_class
from archipel.training.inner.windows import Windows
from archipel.training.merging.sums import norm_of, squared_distance
from archipel.training.optimiser import Diverged
from archipel.work.contributing import codec_terms, inner_terms
from archipel.work.kind import Progress
from archipel.work.programme import Finding

NO_NUMBERS = "no finite numbers"


class Repeating:
    """Makes contributions of one run again, in one network that it trains over and over."""

    def __init__(
        self, config: DecoderConfig, pace: PretrainPace, versions: int, device: torch.device
    ) -> None:
        """versions: outer steps of the run. Raises ValueError: terms that do not go together."""
        self._pace, self._done = pace, 0
        self._codec = codec_of(codec_terms(pace))
        self._progress: Progress = lambda tokens: None
        network = Decoder(config).to(device)
        self._member = Member(network, inner_terms(pace, versions), on_step=self._stepped)
        self.machine = machine_class(device)[:MAX_MACHINE]

    def compare(
        self,
        spec: InnerStepSpec,
        answer: InnerStepAnswer,
        base: Tensors,
        batches: Iterable[Windows],
        payload: bytes,
        progress: Progress,
    ) -> Finding:
        """What is right of this answer, and what is not.

        1 the steps  2 on a machine of its class: every bit  3 where bits do not repeat: the length of the difference,
        if the run says how far it may lie

        base: weights of the version. batches: windows of the block that is assigned. payload: what was answered.

        Raises:
            WrongBase, BadWindows, TooFewWindows: what was given does not fit the run.
        """
        # 1
        self._progress = progress
        trained = self._trained(spec, answer, base, batches)
        right = None if trained is None else self._encoded(trained)
        positions = self._done * self._pace.tokens_per_step
        # 2
        found = self._first_difference(spec, answer, trained, right, payload)
        if found is None:
            return Finding(positions)
        is_ours, audit = answer.machine == self.machine, self._pace.audit
        far = None if audit is None else audit.distance_nano
        if far is None:
            return Finding(positions, found) if is_ours else Finding(positions, cannot="machine")
        # 3
        apart = distance(payload, right, self._codec, shapes_of(base))
        if is_ours and apart > far:
            return Finding(positions, found)
        measured = Measured(drawn=0, figures={DISTANCE: apart})
        beyond = _beyond(spec, answer, apart, far) if apart > far else None
        return Finding(positions, beyond, measured=measured)

    def _stepped(self, done: int, loss: float) -> None:
        self._done = done
        self._progress(done * self._pace.tokens_per_step)

    def _trained(
        self,
        spec: InnerStepSpec,
        answer: InnerStepAnswer,
        base: Tensors,
        batches: Iterable[Windows],
    ) -> Trained | None:
        """None: these steps lead to no numbers, so nobody can have made them."""
        self._done = 0
        every = self._pace.commit_every
        try:
            return self._member.train(base, batches, spec.first_step, answer.steps, every)
        except Diverged:
            return None

    def _encoded(self, trained: Trained) -> bytes | None:
        try:
            return self._codec.encode(trained.delta)
        except CannotEncode:
            return None

    def _first_difference(
        self,
        spec: InnerStepSpec,
        answer: InnerStepAnswer,
        trained: Trained | None,
        right: bytes | None,
        payload: bytes,
    ) -> Difference | None:
        """The first state or else the payload that is another one; None: every bit is as it was answered."""
        if trained is None:
            return _difference(spec, self._done, "state", answer.commitments[0], NO_NUMBERS)
        every = self._pace.commit_every
        states = zip(answer.commitments, trained.commitments[1:], strict=True)
        for number, (said, ours) in enumerate(states, start=1):
            if said != ours:
                return _difference(spec, min(number * every, answer.steps), "state", said, ours)
        if right is None:
            return _difference(spec, answer.steps, "payload", answer.payload.digest, NO_NUMBERS)
        if right != payload:
            ours = sha256_digest(right)
            return _difference(spec, answer.steps, "payload", answer.payload.digest, ours)
        return None


def distance(payload: bytes, right: bytes | None, codec: Codec, shapes: Shapes) -> int:
    """Billionths, rounded up: length of (what a payload says less what is right) over the length of what is right.

    `MOST` where either says nothing.
    """
    if right is None:
        return MOST
    try:
        said, ours = codec.decode(payload, shapes).values, codec.decode(right, shapes).values
    except BadContribution:
        return MOST
    apart, length = math.sqrt(squared_distance(said, ours)), norm_of(ours)
    if not apart:
        return 0
    share = apart / length if length else math.inf
    return min(math.ceil(share * NANO), MOST) if math.isfinite(share) else MOST


def _beyond(spec: InnerStepSpec, answer: InnerStepAnswer, apart: int, far: int) -> Difference:
    return _difference(
        spec, answer.steps, "distance", f"{apart / NANO:.6g}", f"at most {far / NANO:.6g}"
    )


def _difference(
    spec: InnerStepSpec, steps: int, what: str, recorded: str, recomputed: str
) -> Difference:
    return Difference.model_validate(
        {
            "group": spec.index,
            "rollout": spec.version,
            "position": steps,
            "what": what,
            "recorded": recorded.removeprefix("sha256:"),
            "recomputed": recomputed.removeprefix("sha256:"),
        }
    )
