"""A lab in the middle of a run, and a liar in it: what the tests of refusals act on."""

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from archipel.records.payload import Payload, read_payload, write_payload
from archipel.records.rollouts import Rollout, pack_rollouts
from archipel.records.statements import LeaseGranted, WorkAnswered
from door import Door
from people import Provider, envelope
from world import TERMS, World

TENSORS = {"tokens": "I32", "logprobs": "F32", "lengths": "I32", "finished": "U8"}


class Scene:
    """A run at version 0: an honest node and a liar hold a lease each.

    The liar answered another lease before, in the bytes `said`, and let a third run out.
    """

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, ledger_on_disk=False)
        self.learner = self.world.started(max_groups_per_lease=2)
        self.honest = self.world.provider("honest")
        self.liar = self.world.provider("liar")
        self.late = self._granted(self.liar)
        self.world.tick(TERMS["trusted_deadline_ms"] + 1)
        self.answered = self._granted(self.liar)
        fields = self.liar.answer_fields(self.answered)
        statement = self.world.statement(self.liar.identity, WorkAnswered, **fields)
        self.said = envelope(self.liar.identity, statement)
        self.world.say(self.said)
        self.liar.leases.clear()
        self.kept = self._granted(self.honest)
        self.grant = self._granted(self.liar)
        self.door = Door(self.world)

    def close(self) -> None:
        self.door.close()
        self.world.close()

    def say(self, kind: type, author: Provider | None = None, **fields: Any) -> httpx.Response:
        """One statement, by the liar unless named."""
        key = (author or self.liar).identity
        return self.door.say(envelope(key, self.world.statement(key, kind, **fields)))

    def result(self, **lies: Any) -> httpx.Response:
        """An honest answer to the liar's lease, but for `lies`."""
        return self.say(WorkAnswered, **self.liar.answer_fields(self.grant, **lies))

    def payload(self, data: bytes, **lies: Any) -> httpx.Response:
        return self.result(result=self.world.put(data), **lies)

    def tensors(self, **changed: Callable[[array], array]) -> httpx.Response:
        """The honest payload with some of its tensors changed."""
        payload = read_payload(self.packed(), TENSORS)
        tensors = {**payload.tensors, **{k: f(payload.tensors[k]) for k, f in changed.items()}}
        return self.payload(write_payload(Payload(tensors, payload.metadata)))

    def packed(self, **labels: str) -> bytes:
        named = {"work": self.grant.work, "policy": self.grant.spec.policy} | labels
        return pack_rollouts(self.liar.sampled(self.grant), **named)

    def one_rollout(self, changed: Callable[[Rollout], Rollout]) -> httpx.Response:
        groups = self.liar.sampled(self.grant)
        groups[0][0] = changed(groups[0][0])
        data = pack_rollouts(groups, work=self.grant.work, policy=self.grant.spec.policy)
        count = sum(len(each.tokens) for group in groups for each in group)
        return self.payload(data, num_tokens=count)

    def _granted(self, node: Provider) -> LeaseGranted:
        granted = node.ask()
        assert granted is not None
        return granted
