"""Bringing answers to the lab, in the background, while the child already works on the next lease.

Parts: `Deliveries` holds the answers that are on their way; `statement_of` turns what a child said
into the statement that goes into the ledger, and refuses what does not fit.
"""

import asyncio
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from archipel.node.answer_files import AnswerFile, BadAnswer
from archipel.node.client import LabClient
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.patience import NodeFailed, Patience
from archipel.node.settings import NodeSettings
from archipel.node.totals import Totals
from archipel.records.fields import BlobRef
from archipel.records.statements import (
    EvaluateSpec,
    EvaluationSubmitted,
    LeaseGranted,
    LeaseReturned,
    PromptBatch,
    RolloutSpec,
    RolloutSubmitted,
    Statement,
    VersionPublished,
)
from archipel.work.messages import Done

logger = logging.getLogger("archipel.node")

LAST_WORDS_S = 10.0
"""A lease is given back, or the lab left, within this time or in silence."""
ALREADY_ACCEPTED = "duplicate-result"
PROMPTS_ROLE = "prompts-"


class Deliveries:
    """Answers on their way."""

    def __init__(
        self, client: LabClient, patience: Patience, settings: NodeSettings, totals: Totals
    ) -> None:
        self._client = client
        self._patience = patience
        self._totals = totals
        self._scratch = settings.home / "scratch"
        memory = [settings.home / "memory"] if settings.trusted else []
        self._roots = (self._scratch, *memory)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def works(self) -> tuple[str, ...]:
        """Leases whose answers are on their way."""
        return tuple(self._tasks)

    def start(self, grant: LeaseGranted, done: Done, busy_s: float, delay_s: float) -> None:
        """Deliver in the background, after `delay_s`."""
        task = asyncio.create_task(self._deliver(grant, done, busy_s, delay_s), name=grant.work)
        self._tasks[grant.work] = task
        task.add_done_callback(lambda _: self._tasks.pop(grant.work, None))

    async def next_end(self) -> None:
        """Wait until one of them has ended."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Give up what is still on its way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def give_back(self, grant: LeaseGranted, reason: str) -> None:
        """Return a lease; a lab that does not answer will see the deadline pass."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._client.submit(LeaseReturned, work=grant.work, reason=reason[:500])
        except (LabRefused, LabUnreachable, TimeoutError) as error:
            logger.warning("lease not returned", extra={"work": grant.work, "reason": str(error)})

    async def _deliver(
        self, grant: LeaseGranted, done: Done, busy_s: float, delay_s: float
    ) -> None:
        await asyncio.sleep(delay_s)
        outcome = await self._outcome(grant, done, busy_s)
        shutil.rmtree(self._scratch / grant.work, ignore_errors=True)
        self._totals.count(outcome)
        if outcome != "accepted":
            return
        spec = grant.spec
        self._totals.version = max(self._totals.version, spec.version)
        self._totals.tokens += int(done.values.get("num_tokens", 0))
        self._totals.groups += len(getattr(spec, "groups", ()))
        self._totals.credit_micro += grant.price_micro
        logger.info(
            "accepted", extra={"run": spec.run, "work": grant.work, "version": spec.version}
        )

    async def _outcome(self, grant: LeaseGranted, done: Done, busy_s: float) -> str:
        """Bring the answer to the lab; what became of it."""
        try:
            await self._patience.patiently(
                lambda: self._tell(grant, done, int(busy_s * 1000)), until_ms=grant.deadline_ms
            )
        except LabRefused as error:
            if error.problem == ALREADY_ACCEPTED:
                return "accepted"  # an earlier telling arrived, only its receipt was lost
            logger.warning("answer refused", extra={"work": grant.work, "reason": str(error)})
            await self.give_back(grant, f"the answer was refused: {error}")
            return "refused"
        except (LabUnreachable, NodeFailed) as error:
            logger.warning("answer lost", extra={"work": grant.work, "reason": str(error)})
            return "lost"
        except (BadAnswer, OSError) as error:
            logger.warning("answer unusable", extra={"work": grant.work, "reason": str(error)})
            await self.give_back(grant, str(error))
            return "lost"
        return "accepted"

    async def _tell(self, grant: LeaseGranted, done: Done, busy_ms: int) -> None:
        blobs = {}
        for role, path in done.files.items():
            answer = await asyncio.to_thread(AnswerFile, Path(path), self._roots)
            with answer:
                await self._client.send(answer.rest, answer.blob, grant.work)
            blobs[role] = answer.blob
        kind, fields = statement_of(grant, done.values, blobs, busy_ms)
        try:
            await self._client.submit(kind, **fields)
        except ValidationError as error:
            raise BadAnswer(f"the child's answer is no {kind.__name__}: {error}") from None


def statement_of(
    grant: LeaseGranted, values: Mapping[str, Any], blobs: Mapping[str, BlobRef], busy_ms: int
) -> tuple[type[Statement], dict[str, Any]]:
    """The kind and fields of the statement that answers `grant`.

    Raises:
        BadAnswer: a value or a file is missing.
    """
    try:
        return _statement_of(grant, values, blobs, busy_ms)
    except (KeyError, ValueError) as error:
        raise BadAnswer(f"the child's answer lacks {error}") from None


def _statement_of(
    grant: LeaseGranted, values: Mapping[str, Any], blobs: Mapping[str, BlobRef], busy_ms: int
) -> tuple[type[Statement], dict[str, Any]]:
    spec = grant.spec
    fields: dict[str, Any] = {"work": grant.work, "policy": values["policy"]}
    if isinstance(spec, RolloutSpec):
        fields |= {"result": blobs["rollouts"], "num_tokens": values["num_tokens"]}
        return RolloutSubmitted, fields | {"busy_ms": busy_ms}
    fields |= {"version": spec.version, "metrics": values["metrics"]}
    if isinstance(spec, EvaluateSpec):
        return EvaluationSubmitted, fields | {"report": blobs["report"]}
    batches = sorted(
        (int(role.removeprefix(PROMPTS_ROLE)), blob)
        for role, blob in blobs.items()
        if role.startswith(PROMPTS_ROLE)
    )
    return VersionPublished, fields | {
        "parent": spec.parent,
        "manifest": blobs["manifest"],
        "anchor": blobs.get("anchor"),
        "delta": blobs.get("delta"),
        "prompts": tuple(PromptBatch(batch=batch, blob=blob) for batch, blob in batches),
    }
