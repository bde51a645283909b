"""A tiny run of pretraining in memory, for `bench replays`: a version, text, members that lie or do not, an auditor.

Parts: `Plan`, `Made`, `Ground`. Law: liars and auditors are the code that members and auditors run; what differs is what a
liar is told to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from archipel.bench.replay_lies import HONEST, Lie, Windows
from archipel.model.config import DecoderConfig
from archipel.model.network import Decoder, random_weights
from archipel.records.audits import AuditTerms
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.kinds.inner_step import InnerStepAnswer, InnerStepSpec
from archipel.records.measures import NANO
from archipel.records.pretraining import (
    CodecName,
    CorpusPace,
    InnerPace,
    MergePace,
    OptimiserName,
    OuterPace,
    PayloadPace,
)
from archipel.records.programmes.pretrain import PretrainPace
from archipel.training.exchange import codec_of
from archipel.training.inner.member import Member, Trained
from archipel.work.contributing import codec_terms, inner_terms
from archipel.work.programme import Finding
from archipel.work.repeating import Repeating

BLOB = BlobRef(digest=f"sha256:{'0' * 64}", size=1)
CPU = torch.device("cpu")
VOCABULARY = 64
TERMS = AuditTerms(floor_micro=150_000, pay_milli=500, deadline_ms=60_000, window_ms=3_600_000)


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    seeds: tuple[int, ...] = (0, 1, 2)
    members: int = 4
    steps: int = 20
    commit_every: int = 5
    batch: int = 4
    sequence_length: int = 64
    hidden_size: int = 64
    num_layers: int = 2
    codecs: tuple[CodecName, ...] = ("float32", "int8", "e3m0")
    optimisers: tuple[OptimiserName, ...] = ("adamw", "muon")
    vectors: bool = True
    """Whether processes with plainer vectors are started, too."""


QUICK = Plan(
    seeds=(0,), steps=4, commit_every=2, batch=2, sequence_length=16, hidden_size=16, num_layers=1,
    codecs=("e3m0",), optimisers=("adamw",), vectors=False,
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """One contribution as it was answered."""

    answer: InnerStepAnswer
    payload: bytes


class Ground:
    """One run with one seed: a version, and text for all of its members."""

    def __init__(self, plan: Plan, seed: int, codec: CodecName, optimiser: OptimiserName) -> None:
        self.plan, self.seed = plan, seed
        self.config = DecoderConfig(
            family="llama",
            vocab_size=VOCABULARY,
            hidden_size=plan.hidden_size,
            num_layers=plan.num_layers,
            num_heads=2,
            num_kv_heads=2,
            head_dim=plan.hidden_size // 2,
            intermediate_size=2 * plan.hidden_size,
            max_position_embeddings=plan.sequence_length,
        )
        network = random_weights(self.config, seed)
        self.base = {n: each.detach().numpy().copy() for n, each in network.named_parameters()}
        self.pace = _pace(plan, codec, optimiser)
        self._honest: dict[int, Trained] = {}

    def spec(self, index: int) -> InnerStepSpec:
        """What a member is asked."""
        return InnerStepSpec(
            run="replays", version=0, policy=BLOB.digest, index=index, steps=self.plan.steps,
            first_step=0, corpus=BLOB,
        )  # fmt: skip

    def text(self, index: int, version: int = 0) -> list[Windows]:
        """The windows of each inner step: a chain in which most of what comes next follows from what came."""
        plan = self.plan
        follows = np.random.default_rng([self.seed, 0]).permutation(VOCABULARY)
        chance = np.random.default_rng([self.seed, 1, version, index])
        tokens = chance.integers(0, VOCABULARY, (plan.steps, plan.batch, plan.sequence_length + 1))
        for place in range(1, plan.sequence_length + 1):
            is_told = chance.random((plan.steps, plan.batch)) < 0.8
            tokens[:, :, place] = np.where(
                is_told, follows[tokens[:, :, place - 1]], tokens[:, :, place]
            )
        documents = np.zeros_like(tokens[0])
        return [(each, documents) for each in tokens]

    def contribution(self, index: int, lie: Lie = HONEST) -> Made:
        """As a member makes it that lies so."""
        plan, chance = self.plan, np.random.default_rng([self.seed, 2, index])
        missing = plan.steps - 1 if lie.missing < 0 else lie.missing
        text = self.text((index + lie.block) % plan.members, lie.version)
        text = [lie.learns(each, chance) for each in text]
        trained = self._trained(text, plan.steps - missing, lie.rate)
        others = [self._of(each).delta for each in range(plan.members) if each != index]
        payload = codec_of(codec_terms(self.pace)).encode(lie.says(trained.delta, others, chance))
        states = list(trained.commitments[1:])
        states += [states[-1]] * (self.pace.commitments_of(plan.steps) - len(states))
        answer = InnerStepAnswer(
            policy=BLOB.digest,
            steps=plan.steps,
            num_tokens=plan.steps * self.pace.tokens_per_step,
            payload=BlobRef(digest=sha256_digest(payload), size=len(payload)),
            commitments=tuple(states),
            metrics={},
            busy_ms=1,
            machine=trained.machine,
        )
        return Made(answer, payload)

    def look(self, index: int, made: Made, far_nano: int | None = None) -> Finding:
        """What an auditor says of it here. far_nano: how far a payload may lie where bits do not repeat."""
        audit = TERMS.model_copy(update={"distance_nano": far_nano})
        pace = self.pace.model_copy(update={"audit": audit})
        return Repeating(self.config, pace, 1, CPU).compare(
            self.spec(index), made.answer, self.base, self.text(index), made.payload, lambda _: None
        )

    def apart_nano(self, index: int, made: Made) -> int:
        """How far its payload lies from what is right."""
        elsewhere = made.answer.model_copy(update={"machine": "another"})
        measured = self.look(index, replace(made, answer=elsewhere), far_nano=MOST_TOLD).measured
        return 0 if measured is None else measured.figures["distance"]

    def _of(self, index: int) -> Trained:
        if index not in self._honest:
            self._honest[index] = self._trained(self.text(index), self.plan.steps, 1.0)
        return self._honest[index]

    def _trained(self, text: Sequence[Windows], steps: int, rate: float) -> Trained:
        terms = inner_terms(self.pace, 1)
        terms = replace(terms, learning_rate=rate * terms.learning_rate)
        member = Member(Decoder(self.config), terms)
        return member.train(self.base, text, 0, steps, self.plan.commit_every)


MOST_TOLD = NANO
"""The farthest that a run may say (`AuditTerms.distance_nano`)."""


def _pace(plan: Plan, codec: CodecName, optimiser: OptimiserName) -> PretrainPace:
    """Of a run whose members remember nothing; what it says of merges is for nobody here."""
    return PretrainPace(
        members=plan.members,
        seed=0,
        steps=plan.steps,
        min_steps=plan.steps,
        commit_every=plan.commit_every,
        corpus=CorpusPace(
            manifest=BLOB, shards=(BLOB,), sequence_length=plan.sequence_length,
            batch=plan.batch, epochs=1,
        ),
        inner=InnerPace(
            optimiser=optimiser, learning_rate_nano=3_000_000, rest_factor_micro=1_000_000,
            warmup_steps=0, schedule="constant", final_micro=100_000, beta1_micro=900_000,
            beta2_micro=950_000, momentum_micro=900_000, weight_decay_micro=100_000,
            clip_micro=1_000_000, micro_batch_tokens=16_384, state="fresh",
        ),
        payload=PayloadPace(codec=codec, size=1, kept=64 if codec == "top_k" else None),
        outer=OuterPace(optimiser="sgd", learning_rate_micro=1_000_000, momentum_micro=0),
        merge=MergePace(
            aggregate="mean", faulty=0, clip=False, quorum=1, deadline_milli=0, late="drop"
        ),
        min_deadline_ms=1000,
        slack_milli=4000,
        price_micro=1000,
    )  # fmt: skip
