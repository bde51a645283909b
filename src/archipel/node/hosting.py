"""A trusted role as the environment of others' episodes: it asks the lab for questions, and answers them.

A task beside the agent's own work, so that turns are answered while the learner learns; the environment lives in a
confined child of its own, which costs nothing until somebody asks. Law: a reply is written down before it is told;
whatever happens to a question, the next one is asked for.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from archipel.blobs import BlobError
from archipel.node.asking import LeaseTurns
from archipel.node.client import LabClient
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.failures import WorkFailure
from archipel.node.home import hosts_setup
from archipel.node.open_runs import OpenRun, OpenRuns
from archipel.node.question import (
    Asked,
    NotAnswered,
    Open,
    Step,
    answered,
    asked_in,
    pace_of,
    replies_to,
    sorted_out,
)
from archipel.node.sealed import NotBelieved
from archipel.node.settings import NodeSettings
from archipel.node.turn_journal import Journal
from archipel.node.turn_words import document_of, spoken
from archipel.node.worker import OnTurns, Worker
from archipel.records.canonical import sha256_digest
from archipel.records.documents import RunView
from archipel.records.episodes import HOSTED
from archipel.records.fields import MAX_REASON_CHARACTERS, BlobRef, Fault
from archipel.records.turns import (
    MAX_TURN_BYTES,
    Question,
    Reply,
    TurnsAwaited,
    TurnsTold,
    pack_replies,
)
from archipel.work.messages import STEPS, AnswerTurns, Done, DoWork

logger = logging.getLogger("archipel.node")

POLL_S = 20.0
MAX_ANSWER_S = 300.0
"""For one question, whatever its lease allows."""
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 15.0
"""Between attempts while the lab does not answer."""
_STEPS: TypeAdapter[list[tuple[list[int], bool, bool]]] = TypeAdapter(
    list[tuple[list[int], bool, bool]]
)


class Hosting:
    """Of one trusted agent."""

    def __init__(self, client: LabClient, runs: OpenRuns, settings: NodeSettings) -> None:
        self._client, self._runs, self._settings = client, runs, settings
        self._worker: Worker | None = None
        self._journal: Journal | None = None
        self._task: asyncio.Task[None] | None = None

    async def joined(self) -> None:
        """The lab is met: if any of its runs asks turns, begin to answer."""
        if not self._settings.trusted or self._task is not None:
            return
        with contextlib.suppress(LabRefused, LabUnreachable):
            views = await self._client.read_all(RunView, "/runs")
            if any(view.plays == HOSTED for view in views):
                self.begin()

    def of(self, work: DoWork) -> OnTurns | None:
        """What brings the turns that this work may ask about, None if it asks none; a trusted role that meets a run
        of such work answers from now on.
        """
        if work.opened.pace.plays != HOSTED:
            return None
        self.begin()
        return LeaseTurns(self._client, work).bring

    def begin(self) -> None:
        """Answer from now on; idempotent."""
        if self._settings.trusted and self._task is None:
            self._task = asyncio.create_task(self._go_on())

    async def close(self) -> None:
        """No more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._worker is not None:
            await self._worker.kill()
        if self._journal is not None:
            self._journal.close()

    async def _go_on(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                found = await self._next()
                if found is not None:
                    await self._told(*found)
                pause_s = FIRST_PAUSE_S
            except (LabUnreachable, LabRefused, NotBelieved, sqlite3.Error, OSError) as error:
                logger.warning("no questions", extra={"reason": str(error)})
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)

    async def _next(self) -> tuple[Question, bytes] | None:
        asking = spoken(self._client, TurnsAwaited)
        sent = await self._client.post("/turns/next", asking, (), POLL_S)
        return document_of(Question, sent) if sent else None

    async def _told(self, question: Question, said: bytes) -> None:
        """Answer one question.

        Raises:
            NotBelieved: there is none, by whoever's fault.
            LabUnreachable, LabRefused, OSError: it could not be told; it is asked again.
        """
        asked = asked_in(question, said, self._client.lab)
        data = b""
        try:
            data, fields = _replies(await self._answered(asked, question.opening))
        except NotAnswered as error:
            fields = _no_replies(str(error), "work")
        except (WorkFailure, BlobError) as error:
            fault = error.fault if isinstance(error, WorkFailure) else None
            fields = _no_replies(f"its machine cannot answer: {error}", fault)
        except (LabUnreachable, LabRefused, NotBelieved, sqlite3.Error, OSError):
            raise
        except Exception as error:  # a question that breaks something must not come for ever
            logger.exception("a question could not be answered")
            fields = _no_replies(f"its machine failed: {type(error).__name__}: {error}", "work")
        about = {"work": asked.word.work, "asked": asked.word.said.digest}
        told = spoken(self._client, TurnsTold, **about, **fields)
        await self._client.post("/turns/told", told, [data] if data else [])

    async def _answered(self, asked: Asked, opening: str) -> list[Reply]:
        """1 the run is one of ours, and approved  2 what stands already  3 the environment's answers  4 written, sealed."""
        # 1
        run = await self._runs.open(asked.grant.spec.run, opening, trusted=True)
        pace = pace_of(run.opened, asked, self._client.identity.did)
        # 2
        journal, work, said = self._opened_journal(), asked.word.work, asked.said
        tasks = await self._runs.tasks(asked.grant.spec, pace)
        standing, fresh = sorted_out(
            asked, said, pace, lambda g, r: journal.episode(work, g, r), tasks
        )
        if fresh:
            # 3
            steps = await self._steps(run, fresh, asked.grant.deadline_ms)
            # 4
            sign = self._client.identity.sign_bytes
            turns = answered(run.opened, work, fresh, steps, sign)
            now_ms = self._client.clock.now_us() // 1000
            await asyncio.to_thread(journal.write, turns, asked.grant.deadline_ms, now_ms)
            standing |= {(place.group, place.rollout): turn for place, turn in turns}
        return replies_to(said, standing)

    async def _steps(self, run: OpenRun, fresh: Sequence[Open], deadline_ms: int) -> list[Step]:
        left_s = self._client.clock.left_s(deadline_ms)
        if left_s <= 0:
            raise NotAnswered("the lease is over")
        recipe, secret = await self._runs.extras(run)
        worker = await self._started(run)
        message = AnswerTurns(
            opened=run.opened,
            model=run.model,
            recipe=recipe,
            secret=secret,
            episodes=tuple(each.episode for each in fresh),
        )
        return _steps_of(await worker.work(message, min(left_s, MAX_ANSWER_S)), len(fresh))

    async def _started(self, run: OpenRun) -> Worker:
        if self._worker is None or not self._worker.alive:
            settings, log = self._settings, self._settings.home / "turns.log"
            setup = hosts_setup(settings)
            environment = {**settings.environment, "TMPDIR": str(setup.scratch)}
            self._worker = await Worker.start(setup, environment, log)
        if run.data:
            await self._worker.let_read(run.data)
        return self._worker

    def _opened_journal(self) -> Journal:
        if self._journal is None:
            self._journal = Journal(Path(self._settings.home))
        return self._journal


def _replies(replies: Sequence[Reply]) -> tuple[bytes, dict[str, object]]:
    data = pack_replies(replies)
    if len(data) > MAX_TURN_BYTES:
        raise NotAnswered(
            f"the replies take {len(data)} bytes; at most {MAX_TURN_BYTES} go at once"
        )
    return data, {"told": BlobRef(digest=sha256_digest(data), size=len(data))}


def _no_replies(reason: str, fault: Fault | None) -> dict[str, object]:
    logger.warning("turns are not answered", extra={"reason": reason})
    text = reason[:MAX_REASON_CHARACTERS].encode("utf-8", "replace").decode()
    return {"reason": text, "fault": fault}


def _steps_of(done: Done, count: int) -> list[Step]:
    """What the child says follows. Raises WorkFailure: it makes no sense."""
    try:
        steps = _STEPS.validate_python(done.values.get(STEPS))
    except ValidationError as error:
        raise WorkFailure(f"the child's answers are none: {error}") from None
    if len(steps) != count:
        raise WorkFailure(f"the child answered {len(steps)} turns, asked were {count}")
    return [Step(tuple(answer), is_over, retells) for answer, is_over, retells in steps]
