"""A task for every sample that waits: handed over, its sequences recorded, its future ended.

Law: seed and ids of sequences are written down with the question, so a sample that is done again is the same.
"""

import asyncio
import json
import logging
import sqlite3
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from functools import partial

import numpy as np

from archipel.door import checkpoints, futures, recorded
from archipel.door.bounds import Bounds
from archipel.door.futures import Ending
from archipel.door.hands import CannotDo, HandsLost, SampleAsked, Sampled, Weights
from archipel.door.journal import JournalBroken
from archipel.door.means import MAX_DEFECTS, Means, wait_s
from archipel.door.packed import pack, sampled_bytes, unpack
from archipel.door.refusals import Declined
from archipel.door.wire import sampling as wire

logger = logging.getLogger("archipel.door")


@dataclass(frozen=True, eq=False)
class Written:
    """A sample as it stands in the journal."""

    asked: wire.Asked
    body: bytes
    base: str
    checkpoint: str | None
    max_tokens: int
    seed: int
    stop_tokens: tuple[int, ...]
    sequence_ids: tuple[str, ...]


def written_bytes(one: Written) -> bytes:
    """For the journal."""
    said = {
        "base": one.base,
        "checkpoint": one.checkpoint,
        "max_tokens": one.max_tokens,
        "seed": one.seed,
        "stop_tokens": one.stop_tokens,
        "sequence_ids": one.sequence_ids,
    }
    return pack(said, [np.frombuffer(one.body, np.uint8)])


def written_of(data: bytes) -> Written:
    """What `written_bytes` was given, or an answer that has it in front. Raises Spoilt."""
    said, arrays = unpack(data)
    body = arrays[0].tobytes()
    return Written(
        wire.read_sample(body),
        body,
        said["base"],
        said["checkpoint"],
        said["max_tokens"],
        said["seed"],
        tuple(said["stop_tokens"]),
        tuple(said["sequence_ids"]),
    )


def answer_bytes(one: Written, sampled: Sampled) -> bytes:
    """What is kept until it is fetched: the question, which the answer is laid out by, and what came."""
    said, arrays = unpack(written_bytes(one))
    return pack(said, [*arrays, np.frombuffer(sampled_bytes(sampled), np.uint8)])


def sampled_part(answer: bytes) -> bytes:
    """The bytes of `Sampled` in an answer. Raises Spoilt."""
    return unpack(answer)[1][1].tobytes()


class Sampling:
    """Of one door."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._waiting: defaultdict[str, deque[str]] = defaultdict(deque)
        self._running: Counter[str] = Counter()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._is_ending = False

    @property
    def num_running(self) -> int:
        """Samples that the hands were given."""
        return len(self._tasks)

    @property
    def num_waiting(self) -> int:
        """Samples that were not handed over yet."""
        return sum(map(len, self._waiting.values()))

    def nudge(self, tenant: str, future: str) -> None:
        """A sample waits."""
        self._waiting[tenant].append(future)
        self._fill(tenant)

    def cancel(self, future: str) -> None:
        """Nobody waits for it any more, and the journal says so."""
        task = self._tasks.get(future)
        if task is not None:
            task.cancel()

    async def end(self, within_s: float) -> None:
        """Nothing new is begun; see `Driving.end`."""
        self._is_ending = True
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within_s)
            for each in late:
                each.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _fill(self, tenant: str) -> None:
        waiting = self._waiting[tenant]
        while waiting and not self._is_ending:
            if self._running[tenant] >= self._means.bounds.samples_at_once:
                return
            future = waiting.popleft()
            if future in self._tasks:
                continue
            self._running[tenant] += 1
            task = asyncio.create_task(self._done(tenant, future), name="door-sample")
            self._tasks[future] = task
            task.add_done_callback(partial(self._ended, tenant, future))
        if not waiting:
            self._waiting.pop(tenant, None)

    def _ended(self, tenant: str, future: str, _: "asyncio.Task[None]") -> None:
        self._tasks.pop(future, None)
        self._running[tenant] -= 1
        self._fill(tenant)

    async def _done(self, tenant: str, future: str) -> None:
        """Until it is, or its future is told why not."""
        tries = defects = 0
        failed: tuple[str, str] | None = None
        while not self._is_ending:
            try:
                if failed is None:
                    await self._once(tenant, future)
                else:
                    await self._failed(future, *failed)
            except JournalBroken as error:
                tries += 1
                logger.warning("a sample waits: %s", error)
            except HandsLost as error:
                tries += 1
                self._means.count("hands_lost")
                logger.warning("a sample could not be done now: %s", error)
            except (CannotDo, Declined) as error:
                if not (isinstance(error, Declined) and error.kind == "unavailable"):
                    failed = str(error), "user"
                    continue
                tries += 1
            except Exception:
                tries, defects = tries + 1, defects + 1
                logger.exception("a sample failed by a defect of the door")
                if defects >= MAX_DEFECTS:
                    failed = "the door failed at this sample; its log says where", "server"
            else:
                return
            await asyncio.sleep(wait_s(tries))

    async def _once(self, tenant: str, future: str) -> None:
        means = self._means
        found = await means.journal.look(_waiting_of, future)
        if found is None:
            return
        place, seq, question = found
        one = await asyncio.to_thread(written_of, question)
        row = None
        if one.checkpoint is not None:
            row = await means.journal.look(
                checkpoints.by_id, tenant, one.checkpoint, means.now_ms()
            )
        folder = "" if row is None else row["folder"]
        with means.folders.held(folder):
            path = None if row is None else means.folders.path(folder)
            sampled = await means.hands.sample(
                _asked(one, tenant, means.share(tenant), Weights(one.base, path, folder))
            )
        answer = await asyncio.to_thread(answer_bytes, one, sampled)
        ended = await means.journal.do(
            _ended, tenant, (place, seq, answer), one, sampled, means.bounds, means.now_ms()
        )
        new = sum(len(each.tokens) for each in sampled.sequences)
        means.used(tenant, "sample", new, one.base)
        means.used(tenant, "prefill", len(one.asked.prompt), one.base)
        means.count("samples")
        means.wakes.wake([each for each in (ended, place) if each is not None])

    async def _failed(self, future: str, sentence: str, blame: str) -> None:
        means = self._means
        found = await means.journal.look(_waiting_of, future)
        if found is None:
            return
        told = Ending(found[1], sentence.encode(), is_done=False, blame=blame)
        await means.journal.do(futures.end, found[0], told, means.now_ms())
        means.wakes.wake((future, found[0]))


def _asked(one: Written, tenant: str, share: int, weights: Weights) -> SampleAsked:
    asked, params = one.asked, one.asked.params
    return SampleAsked(
        weights=weights,
        tenant=tenant,
        share=share,
        prompt=asked.prompt,
        num_samples=0 if one.max_tokens == 0 else asked.num_samples,
        max_tokens=one.max_tokens,
        seed=one.seed,
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        stop_tokens=one.stop_tokens,
        stop_strings=asked.stop_strings,
        prompt_logprobs=asked.prompt_logprobs,
        topk_prompt_logprobs=asked.topk_prompt_logprobs,
        topk_sample_logprobs=asked.topk_sample_logprobs,
        target_prompt_tokens=None if asked.targets is None else asked.targets.pairs,
    )


def _waiting_of(db: sqlite3.Connection, future: str) -> tuple[str, int, bytes] | None:
    row = db.execute(
        "SELECT place, seq, question FROM futures WHERE id = ? AND state = 'waiting'", (future,)
    ).fetchone()
    return None if row is None else (row["place"], row["seq"], row["question"])


def _ended(  # noqa: PLR0913  one transaction
    db: sqlite3.Connection,
    tenant: str,
    answered: tuple[str, int, bytes],
    one: Written,
    sampled: Sampled,
    bounds: Bounds,
    now_ms: int,
) -> str | None:
    """Its records and its end together: a sequence that was told of can be trained on."""
    place, seq, answer = answered
    ended = futures.end(db, place, Ending(seq, answer), now_ms)
    if ended is not None:
        named = zip(one.sequence_ids, sampled.sequences, strict=False)
        weights = one.checkpoint or json.dumps(one.base)
        recorded.put(db, tenant, one.asked.prompt, named, weights, bounds, now_ms)
    return ended
