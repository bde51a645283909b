"""Inner steps: a member trains from one version on the text that is assigned to it, and answers how its weights moved."""

from collections.abc import Callable
from pathlib import Path

from archipel.model.config_files import InvalidModel, read_config
from archipel.model.network import Decoder
from archipel.records.kinds.inner_step import MAX_MACHINE, InnerStepSpec
from archipel.records.programmes.pretrain import PretrainPace
from archipel.training.exchange import CannotEncode, codec_of, with_feedback
from archipel.training.inner.member import AnothersState, Member, Trained
from archipel.training.inner.stepping import TooFewWindows, WrongBase
from archipel.training.inner.windows import BadWindows
from archipel.training.optimiser import Diverged
from archipel.work.assigned import Texts
from archipel.work.contributing import codec_terms, inner_terms, widened
from archipel.work.engines import device_of
from archipel.work.kind import (
    Answer,
    Context,
    EngineChoice,
    Kind,
    Progress,
    WorkFailed,
    has_nothing_to_end,
    remembers_nothing,
)
from archipel.work.policies import Policies
from archipel.work.recent import Recent

STATE = "member"
"""In the run's lasting folder: what the member remembers."""
MICRO = 1_000_000
UNTRAINED = (BadWindows, TooFewWindows, WrongBase, AnothersState, Diverged, CannotEncode)
"""What a member says when it cannot train, or not send what came of it."""


def make(choice: EngineChoice) -> Kind:
    """A fresh one; it samples nothing, and trains on the device that was chosen."""
    return Kind(
        run=InnerSteps(choice).run,
        remembers=remembers_nothing,
        close=has_nothing_to_end,
        shared=False,
    )


class InnerSteps:
    """Keeps weights and members of the runs worked in lately; what a member remembers lies on disk."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._policies = Policies()
        self._texts = Texts()
        self._members: Recent[Path, Member] = Recent()
        self._on_step: Callable[[int, float], None] = lambda done, loss: None

    def run(self, spec: InnerStepSpec, context: Context, progress: Progress) -> Answer:
        """Answer: file `payload`; values `policy`, `steps`, `num_tokens`, `commitments`, `metrics`, `machine`.

        1 weights and text  2 the steps  3 the payload, which is on disk before what is left of it is remembered: a member
        that is killed in between makes the same work again from where it began.
        """
        # 1
        pace = context.pace_as(PretrainPace)
        policy = self._policies.advance(context, spec.policy)
        base, batches = widened(policy.state), self._texts.of(spec, context, pace)
        member = self._member(context, pace)
        # 2
        self._on_step = lambda done, loss: progress(done * pace.tokens_per_step)
        try:
            trained = member.train(
                base, batches, spec.first_step, spec.steps, pace.commit_every, context.work
            )
            # 3
            payload, residual = _encoded(member, trained, pace)
        except UNTRAINED as error:
            raise WorkFailed(f"{context.work} of {context.run}: {error}") from None
        path = context.scratch / "payload"
        path.write_bytes(payload)
        member.keep(residual)
        values = {
            "policy": policy.manifest.state,
            "steps": spec.steps,
            "num_tokens": spec.steps * pace.tokens_per_step,
            # The first one is of the state before the first step: of a fresh state it follows from the version, and of a
            # kept one nothing is asked yet.
            "commitments": list(trained.commitments[1:]),
            "metrics": _measured(trained),
            "machine": trained.machine[:MAX_MACHINE],
        }
        return Answer({"payload": path}, values)

    def _member(self, context: Context, pace: PretrainPace) -> Member:
        """Of this run, with the folder that outlasts this process.

        Raises:
            WorkFailed: the run's model is none that can be trained.
        """
        folder = context.lasting
        member = self._members.get(folder)
        if member is None:
            self._members.make_room(folder)
            try:
                network = Decoder(read_config(context.model)).to(device_of(self._choice))
                terms = inner_terms(pace, context.opened.terms.versions)
            except (InvalidModel, ValueError) as error:
                raise WorkFailed(f"the model of {context.run} cannot be trained: {error}") from None
            member = Member(network, terms, folder / STATE, lambda *told: self._on_step(*told))
            self._members.put(folder, member)
        return member


def _encoded(member: Member, trained: Trained, pace: PretrainPace) -> tuple[bytes, dict | None]:
    """The payload, and what it leaves for the next one; None where nothing is carried on. Raises CannotEncode."""
    terms = codec_terms(pace)
    codec = codec_of(terms)
    if terms.error_feedback is None:
        return codec.encode(trained.delta), None
    return with_feedback(member.residual or None, trained.delta, codec, terms.error_feedback)


def _measured(trained: Trained) -> dict[str, int]:
    """Losses in nats per predicted token."""
    losses = trained.losses
    return {
        "first_loss_micro": round(losses[0] * MICRO),
        "last_loss_micro": round(losses[-1] * MICRO),
        "loss_micro": round(sum(losses) / len(losses) * MICRO),
        "predicted_tokens": trained.tokens,
        "train_ms": round(trained.seconds * 1000),
    }
