"""One operation of a model, or a turn of several, done by the hands and written down.

Parts: `Turning`. Laws: a model that the hands do not hold is made again from what was kept and the operations since; that
comes out as it was told the first time, and where it does not, the log says so.
"""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Sequence

from archipel.door import futures, models, outcomes
from archipel.door.checkpoints import Saved, Saving
from archipel.door.hands import CannotDo, Turn
from archipel.door.means import Means
from archipel.door.ordering import TRAINING, Queued, next_together
from archipel.door.outcomes import Ended, Sampler
from archipel.door.packed import operation_of, outcome_bytes, unpack
from archipel.door.refusals import Declined
from archipel.training.tenants.operations import ForwardBackward

logger = logging.getLogger("archipel.door")
SAVED: dict[str, Saved] = {
    "save": "weights",
    "publish": "sampler_weights",
    "external": "external_weights",
}
"""Which kind of checkpoint comes of which operation."""


class Turning:
    """Of one door. One call at a time for one model."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self.used_ms: dict[str, int] = {}
        """Models that the hands hold, and when they were asked something last."""

    async def do(self, row: sqlite3.Row, queued: Sequence[Queued], questions: list[bytes]) -> Ended:
        """Do these, which are next. Raises HandsLost, CannotDo (of the model as it is), JournalBroken."""
        first = queued[0]
        if first.kind in TRAINING:
            return await self._train(row, queued, questions)
        said, _ = unpack(questions[0])
        try:
            if first.kind == "create":
                return await self._create(row, first.seq)
            if first.kind == "load":
                return await self._load(row, first.seq, said)
        except CannotDo as error:
            return await self.fail(row["id"], first.seq, str(error), "user", breaks=first.seq == 0)
        await self.hold(row)
        try:
            return await self._save(row, first, said)
        except Declined as why:
            return await self.fail(row["id"], first.seq, why.sentence, "user", breaks=False)

    async def fail(self, model: str, seq: int, sentence: str, blame: str, *, breaks: bool) -> Ended:
        """It is not done."""
        now_ms = self._means.now_ms()
        do = self._means.journal.do
        return await do(outcomes.failed, model, seq, sentence, blame, breaks, now_ms)

    async def keep(self, model: str, seq: int) -> None:
        """Write its state before operation `seq`, so that what led there is not done again."""
        means = self._means
        with means.folders.making() as name:
            await means.hands.keep(model, means.folders.path(name))
            await means.journal.do(models.kept, model, seq, name)
        means.count("kept")

    async def let_go(self, model: str) -> None:
        """The hands need not hold it."""
        self.used_ms.pop(model, None)
        await self._means.hands.forget(model)

    async def hold(self, row: sqlite3.Row) -> None:
        """Have the hands hold it, as it is before its next operation."""
        model, means = row["id"], self._means
        if model in self.used_ms:
            self.used_ms[model] = means.now_ms()
            return
        form = models.form_of(row)
        if row["kept_folder"] is None:
            await means.hands.create(model, form)
        else:
            kept = means.folders.path(row["kept_folder"])
            await means.hands.restore(model, form, kept, optimiser=True)
        bounds, next_seq = means.bounds, row["kept_seq"]
        again = await means.journal.look(
            futures.to_do_again, model, (row["kept_seq"], row["next_seq"])
        )
        while again:
            # Refused ones and those that change nothing are not among them, so their numbers have gaps.
            laid = [Queued(next_seq + i, each.kind, each.num_bytes) for i, each in enumerate(again)]
            count = len(next_together(laid, next_seq, bounds.turn_operations, bounds.turn_bytes))
            await self._again(row, again[:count])
            again = again[count:]
        self.used_ms[model] = means.now_ms()

    async def _again(self, row: sqlite3.Row, queued: Sequence[Queued]) -> None:
        seqs = [each.seq for each in queued]
        look = self._means.journal.look
        questions = await look(futures.questions, row["id"], seqs)
        told = await look(futures.answers, row["id"], seqs)
        done = await self._means.hands.train(self._turn(row, questions))
        self._means.count("done_again", len(seqs))
        for seq, outcome, before in zip(seqs, done.outcomes, told, strict=True):
            if before is not None and outcome_bytes(outcome) != before:
                self._means.count("came_out_differently")
                logger.error(
                    "operation %d, done again after a start, came out differently than it was told",
                    seq,
                )

    def _turn(self, row: sqlite3.Row, questions: Sequence[bytes]) -> Turn:
        share = self._means.share(row["tenant"])
        return Turn(row["id"], row["tenant"], share, tuple(map(operation_of, questions)))

    async def _train(
        self, row: sqlite3.Row, queued: Sequence[Queued], questions: list[bytes]
    ) -> Ended:
        means, model = self._means, row["id"]
        if row["broken"]:
            return await means.journal.do(
                outcomes.behind, model, queued, row["broken"], means.now_ms()
            )
        await self.hold(row)
        turn = self._turn(row, questions)
        done = await means.hands.train(turn)
        ended = await means.journal.do(
            outcomes.trained, model, queued, done.outcomes, means.now_ms()
        )
        is_training = any(
            isinstance(each, ForwardBackward) and not each.forward_only for each in turn.operations
        )
        if done.num_tokens:
            means.used(
                row["tenant"], "train" if is_training else "forward", done.num_tokens, row["base"]
            )
        means.count("turns")
        means.count("operations", len(queued))
        bounds = means.bounds
        if ended.must_go_back:
            await self.let_go(model)
        elif ended.steps >= bounds.keep_steps or ended.num_bytes >= bounds.keep_bytes:
            await self.keep(model, queued[-1].seq + 1)
        return ended

    async def _create(self, row: sqlite3.Row, seq: int) -> Ended:
        await self._means.hands.create(row["id"], models.form_of(row))
        self.used_ms[row["id"]] = self._means.now_ms()
        return await self._means.journal.do(outcomes.made, row["id"], seq, self._means.now_ms())

    async def _load(self, row: sqlite3.Row, seq: int, said: dict[str, str]) -> Ended:
        """said: path, folder, and whether the optimiser comes along. The folder is held by a row or by an hour's grace."""
        means, model = self._means, row["id"]
        with means.folders.held(said["folder"]) as source, means.folders.making() as name:
            if not means.folders.path(source).is_dir():
                raise CannotDo(f"{said['path']} was deleted before its turn came")
            self.used_ms.pop(model, None)
            await means.hands.restore(
                model, models.form_of(row), means.folders.path(source), bool(said["optimiser"])
            )
            await means.hands.keep(model, means.folders.path(name))
            ended = await means.journal.do(
                outcomes.loaded, model, seq, said["path"], name, means.now_ms()
            )
        self.used_ms[model] = means.now_ms()
        return ended

    async def _save(self, row: sqlite3.Row, one: Queued, said: dict[str, str]) -> Ended:
        means, model = self._means, row["id"]
        is_whole = one.kind == "save"
        kind = SAVED[one.kind]
        write = means.hands.keep if is_whole else means.hands.publish
        number = said.get("sampler")
        sampler = None if number is None else Sampler(row["session"], int(number))
        with means.folders.making() as name:
            await write(model, means.folders.path(name))
            saving = Saving(
                *(name, row["tenant"], model),
                kind=kind,
                name=said.get("name") or f"step-{one.seq:06d}-{name[:8]}",
                folder=name,
                num_bytes=await asyncio.to_thread(means.folders.num_bytes, name),
                about=json.loads(said.get("about") or "{}"),
                expires_ms=said.get("expires_ms"),  # type: ignore[arg-type]  # a number, or none
                session=None if sampler is None else row["session"],
            )
            return await means.journal.do(
                outcomes.saved,
                saving,
                one.seq,
                bool(said.get("overwrite")),
                sampler,
                means.bounds,
                means.now_ms(),
            )
