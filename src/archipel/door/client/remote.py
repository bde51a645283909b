"""One model at a door: made or taken up again, trained step by step, saved, published.

Laws: operations are numbered in their order and each is sent until its promise is here, so none is done twice; a loss is of
the tokens that are learned alone.
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from archipel.door.client.course import Course
from archipel.door.client.examples import Example
from archipel.door.client.line import POLL_AGAIN, DoorLost, DoorRefused, Line
from archipel.door.client.said import (
    BadAnswer,
    Capabilities,
    Ended,
    ModelRow,
    Promise,
    SessionMade,
    loss_of,
    said_as,
)
from archipel.door.wire import messages
from archipel.door.wire.tensors import tensor_message

SDK = "archipel"
BEAT_S = 10.0
OPERATION_S = 3600.0
"""From an operation's promise to its end; longer than any batch takes."""
GONE = 410
REPEATS = 3
KEPT_S = 14 * 24 * 3600
"""That the door keeps what a course goes on from."""
AT_ONCE = 32
"""Examples that are scored by one call."""
ADAM = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.0, "grad_clip_norm": 1.0}
"""Of every step, beside its learning rate."""


def offered(line: Line) -> tuple[ModelRow, ...]:
    """Base models that this door trains adapters over. Raises DoorRefused, DoorLost, BadAnswer."""
    answer = line.call("GET", "get_server_capabilities")
    return said_as(Capabilities, answer.body).supported_models


class Remote:
    """See the module."""

    def __init__(self, line: Line, session: str) -> None:
        """Use `begun`."""
        self._line, self._session = line, session
        self._model, self._seq = "", 0
        self.is_between_steps = True
        """Whether nothing was gathered that its next step would take."""
        self._beaten = time.monotonic()

    @classmethod
    def begun(cls, line: Line, base: str, course: Course, checkpoint: str | None) -> Self:
        """A new adapter over `base`, or what `checkpoint` names, moments and all.

        Raises:
            DoorRefused: the door will not; DoorLost, BadAnswer.
        """
        word = secrets.token_hex(16)
        body = _json({"tags": [], "sdk_version": SDK})
        answer = line.call("POST", "create_session", body, idempotency=word)
        self = cls(line, said_as(SessionMade, answer.body).session_id)
        named: dict[str, Any] = {"session_id": self._session, "model_seq_id": 0, "base_model": base}
        if checkpoint is None:
            lora = {"rank": course.rank, "seed": course.seed, "train_unembed": False}
            ended = self._done("create_model", named | {"lora_config": lora})
        else:
            ended = self._done("load_weights", named | {"path": checkpoint, "optimizer": True})
        self._model = _there(ended.model_id, "a model without its id")
        return self

    def scored(self, examples: Sequence[Example]) -> float:
        """Nats a token that is learned, over all of them; nothing changes."""
        total = 0.0
        for first in range(0, len(examples), AT_ONCE):
            future, body = self._passed(examples[first : first + AT_ONCE], 1.0, forward_only=True)
            total += self._loss(future, body)
        return total / sum(len(each.answer) for each in examples)

    def step(self, examples: Sequence[Example], rate: float) -> float:
        """One step on the mean over these examples' learned tokens; nats a token before it."""
        weight = 1.0 / sum(len(each.answer) for each in examples)
        future, body = self._passed(examples, weight, forward_only=False)
        self.is_between_steps = False
        asked = {"adam_params": {"learning_rate": rate, **ADAM}}
        stepped, step = self._promised_next("optim_step", asked)
        loss = self._loss(future, body)
        self._end("optim_step", step, stepped)
        self.is_between_steps = True
        return loss

    def save(self, name: str) -> str:
        """Weights and moments; the door's name for them."""
        asked = {"path": name, "overwrite": True, "ttl_seconds": KEPT_S}
        return self._made("save_weights", asked)

    def publish(self, name: str) -> str:
        """The adapter, to sample from and to take away; the door's name for it."""
        return self._made("save_weights_for_sampler", {"path": name})

    def finish(self, reason: str) -> None:
        """Its memory may go: `success`, `errored` or `interrupted`."""
        self._line.call(
            "POST", f"sessions/{self._session}/finish", _json({"reason": {"type": reason}})
        )

    def _made(self, call: str, asked: Mapping[str, Any]) -> str:
        """The path of a checkpoint."""
        future, body = self._promised_next(call, asked)
        ended = said_as(Ended, self._end(call, body, future))
        return _there(ended.path, "a checkpoint without its path")

    def _passed(
        self, examples: Sequence[Example], weight: float, *, forward_only: bool
    ) -> tuple[str, bytes]:
        """The promise of a pass over them, and what was asked."""
        body = _pass_message((self._model, self._seq + 1), examples, weight, forward_only)
        future = self._promised("forward_backward", body, messages.MEDIA_TYPE)
        self._seq += 1
        return future, body

    def _loss(self, future: str, body: bytes) -> float:
        ended = self._end("forward_backward", body, future, messages.MEDIA_TYPE)
        if ended[:1] == b"{":
            raise BadAnswer("the door answers a forward_backward in JSON; is it too old?")
        return loss_of(ended)

    def _done(self, call: str, asked: Mapping[str, Any]) -> Ended:
        body = _json(asked)
        return said_as(Ended, self._end(call, body, self._promised(call, body)))

    def _promised_next(self, call: str, asked: Mapping[str, Any]) -> tuple[str, bytes]:
        """The promise of its next operation, and what was asked; what was refused takes no number."""
        body = _json({"model_id": self._model, "seq_id": self._seq + 1, **asked})
        future = self._promised(call, body)
        self._seq += 1
        return future, body

    def _promised(self, call: str, body: bytes, media: str = "application/json") -> str:
        answer = self._line.call("POST", call, body, media)
        return said_as(Promise, answer.body).request_id

    def _end(self, call: str, body: bytes, future: str, media: str = "application/json") -> bytes:
        """What came of it; a promise that was lost is asked for again.

        Raises:
            DoorRefused: the operation failed.
        """
        until, repeats = time.monotonic() + OPERATION_S, 0
        while time.monotonic() < until:
            self._beat()
            try:
                poll = _json({"request_id": future})
                answer = self._line.call("POST", "retrieve_future", poll, accept=media)
            except DoorRefused as error:
                repeats += 1
                if error.status != GONE or repeats > REPEATS:
                    raise
                future = self._promised(call, body, media)
                continue
            if answer.status == POLL_AGAIN:
                continue
            failed = said_as(Ended, answer.body) if answer.body[:1] == b"{" else None
            if failed is not None and failed.error is not None:
                raise DoorRefused(200, f"{call} failed: {failed.error}")
            return answer.body
        raise DoorLost(f"{call} was promised and has not ended in {OPERATION_S:.0f} s")

    def _beat(self) -> None:
        """A session lives as long as somebody says so."""
        if time.monotonic() - self._beaten < BEAT_S:
            return
        self._line.call("POST", "session_heartbeat", _json({"session_id": self._session}))
        self._beaten = time.monotonic()


def _pass_message(
    named: tuple[str, int], examples: Sequence[Example], weight: float, forward_only: bool
) -> bytes:
    """A ForwardBackwardRequest with cross_entropy; weight: of each token that is learned."""
    asked = messages.new("ForwardBackwardRequest")
    asked.model_id, asked.seq_id = named
    asked.loss_fn, asked.forward_only = "cross_entropy", forward_only
    for example in examples:
        ids = np.array((*example.prompt, *example.answer), np.int64)
        weights = np.zeros(len(ids) - 1, np.float32)
        weights[len(example.prompt) - 1 :] = weight
        datum = asked.data.add()
        datum.model_input.add().encoded_text.tokens = ids[:-1].astype("<i4").tobytes()
        for name, values in (("target_tokens", ids[1:]), ("weights", weights)):
            datum.loss_fn_inputs[name].CopyFrom(tensor_message(values, (len(values),)))
    return bytes(asked.SerializeToString(deterministic=True))


def _json(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, allow_nan=False).encode()


def _there(said: str | None, what: str) -> str:
    if said is None:
        raise BadAnswer(f"the door answers {what}")
    return said
