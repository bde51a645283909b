"""`Hands` in this process: many models trained in one pass, and sampled beside one another, over one base.

Parts: `LocalHands`, `served_as`. Laws: what is trained and sampled hangs on nobody's company; a model whose turn failed, or that
somebody walked away from, is gone until it is restored, so that no half of a turn ever counts.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from archipel.door.hands import (
    CannotDo,
    HandsLost,
    ModelForm,
    SampleAsked,
    Sampled,
    ServedModel,
    Turn,
    TurnDone,
)
from archipel.door.local.desk import Desk
from archipel.door.local.fitting import Limits, ModelRoom, token_bytes
from archipel.door.local.loading import Base
from archipel.door.local.questions import question_of
from archipel.door.local.sampling import Room, Sampling
from archipel.door.local.trainer import State, Trainer
from archipel.door.local.turns import Waiting, sound
from archipel.model.adapter_files import write_adapter
from archipel.model.config_files import InvalidModel
from archipel.model.pieces import NoPieces
from archipel.model.stop_strings import StopStrings
from archipel.training.tenants.operations import Refused

BEAT_S = 5.0
"""How often whoever waits looks whether the thread still goes on."""
SILENT_S = 600.0
"""A thread that was between two things no later than this is well: one pass or step takes so long on no machine that
anybody would train on."""
WRITE_S = 600.0
"""For a folder to be written or read."""
T = TypeVar("T")


@dataclass(eq=False)
class _Model:
    """One that is trained here."""

    form: ModelForm
    state: State
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Its calls are done one after the other."""


class LocalHands:
    """See `door.hands.Hands`."""

    def __init__(
        self,
        base: Base,
        trainer: Trainer,
        served: Sequence[ServedModel],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """trainer: over this base; served: the base under each of its names; clock: seconds."""
        self._base, self._served, self._clock = base, tuple(served), clock
        self._trainer = trainer
        self._room = ModelRoom(base.config, base.parted.model_bytes)
        self._models: dict[str, _Model] = {}
        sampling = Sampling(base.engine, base.adapters, Room(limits.max_running))
        rows = base.parted.pass_bytes // token_bytes(base.config)
        limits = replace(limits, pass_tokens=min(limits.pass_tokens, rows))
        self._desk = Desk(trainer, sampling, limits, clock)

    def models(self) -> Sequence[ServedModel]:
        """See `Hands`."""
        return self._served

    @property
    def counts(self) -> dict[str, int]:
        """What is done and waits, for a progress line and metrics."""
        return {**self._desk.counts(), "models": len(self._models)}

    async def create(self, model: str, form: ModelForm) -> None:
        """See `Hands`."""
        await self._begin(model, form, lambda: self._trainer.create(form.form, form.seed))

    async def restore(self, model: str, form: ModelForm, kept: Path, optimiser: bool) -> None:
        """See `Hands`."""
        await self._begin(model, form, lambda: self._read(form, kept, optimiser))

    async def forget(self, model: str) -> None:
        """See `Hands`."""
        self._drop(model)

    async def train(self, turn: Turn) -> TurnDone:
        """See `Hands`."""
        model, whole = self._held(turn.model), turn
        count, why = sound(turn.operations, self._base.longest)
        turn = replace(turn, operations=turn.operations[:count])
        left = [Refused(why)] * (len(whole.operations) - count)
        async with model.turn:
            going = self._trainer.begin(model.state, turn.operations)
            waiting = Waiting(turn, going, Future())
            try:
                self._desk.put(waiting)
                done = await self._waited(waiting.future)
                return replace(done, outcomes=(*done.outcomes, *left))
            except BaseException:
                self._desk.leave(waiting)
                if self._models.get(turn.model) is model:
                    self._drop(turn.model)
                raise

    async def keep(self, model: str, folder: Path) -> None:
        """See `Hands`."""
        held = self._held(model)
        async with held.turn:
            await _aside(lambda: held.state.write(folder))

    async def publish(self, model: str, folder: Path) -> None:
        """See `Hands`."""
        held = self._held(model)
        async with held.turn:
            await _aside(lambda: _published(folder, held))

    async def sample(self, asked: SampleAsked) -> Sampled:
        """See `Hands`."""
        self._check_base(asked.weights.base)
        asked = self._with_special(asked)
        question = question_of(asked, self._ending(asked.stop_strings))
        self._desk.put(question)
        try:
            return await self._waited(question.future)
        except BaseException:
            self._desk.leave(question)
            raise

    def close(self) -> None:
        """End the thread after what is under way; who still waits is told."""
        self._desk.close()

    async def _begin(self, name: str, form: ModelForm, make: Callable[[], State]) -> None:
        """What it was before stays where it cannot begin."""
        self._check_base(form.base)
        old = self._models.get(name)
        self._room.take(name, form.form)
        try:
            self._models[name] = _Model(form, await _aside(make))
        except BaseException:
            self._room.give(name)
            if old is not None:
                self._room.take(name, old.form.form)
            raise

    def _read(self, form: ModelForm, kept: Path, optimiser: bool) -> State:
        try:
            state: State = self._trainer.read(kept, form.form, optimiser=optimiser)
        except (InvalidModel, OSError, ValueError) as error:
            raise CannotDo(f"what was kept cannot be read: {error}") from None
        return state

    def _held(self, name: str) -> _Model:
        held = self._models.get(name)
        if held is None:
            raise HandsLost("this model is not in memory; restore it from what was kept last")
        return held

    def _drop(self, name: str) -> None:
        self._models.pop(name, None)
        self._room.give(name)

    def _check_base(self, name: str) -> None:
        if all(each.name != name for each in self._served):
            known = ", ".join(each.name for each in self._served)
            raise CannotDo(f"no base is called {name!r:.120}; expected one of: {known}")

    def _with_special(self, asked: SampleAsked) -> SampleAsked:
        """Stop strings that name a special token are that token: no text has it."""
        if self._base.tokenizer is None:
            return asked
        named = {each.content: index for index, each in self._base.tokenizer.special_ids.items()}
        tokens = tuple(named[text] for text in asked.stop_strings if text in named)
        return replace(
            asked,
            stop_tokens=tuple(dict.fromkeys((*asked.stop_tokens, *tokens))),
            stop_strings=tuple(text for text in asked.stop_strings if text not in named),
        )

    def _ending(self, stops: tuple[str, ...]) -> StopStrings | None:
        if not stops:
            return None
        if not all(stops):
            raise CannotDo("a stop string is empty; leave it out")
        if self._base.tokenizer is None:
            raise CannotDo("this base has no tokenizer here; stop at tokens instead of texts")
        try:
            return StopStrings.of(stops, self._base.tokenizer.pieces)
        except NoPieces as error:
            raise CannotDo(f"{error}; stop at tokens instead of texts") from None

    async def _waited(self, future: "Future[T]") -> T:
        """What comes of it, unless the thread has gone silent."""
        wrapped = asyncio.wrap_future(future)
        wrapped.add_done_callback(lambda done: done.cancelled() or done.exception())
        while True:
            done, _ = await asyncio.wait({wrapped}, timeout=BEAT_S)
            if done:
                return wrapped.result()
            if not self._desk.is_well(SILENT_S):
                raise HandsLost("the door's thread does nothing any more; start the door again")


async def _aside(do: Callable[[], T]) -> T:
    """Beside the event loop, and to its end, even if whoever waits leaves: nobody else may begin meanwhile."""
    task = asyncio.ensure_future(asyncio.to_thread(do))
    try:
        return await asyncio.wait_for(asyncio.shield(task), WRITE_S)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=WRITE_S)
        raise
    except TimeoutError:
        raise HandsLost(f"the disk did not answer within {WRITE_S:.0f} s; look at it") from None


def _published(folder: Path, held: _Model) -> None:
    """Durably."""
    write_adapter(folder, held.state.adapter(), None, held.form.base)
    for path in (*folder.iterdir(), folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def served_as(base: Base, names: Sequence[str], tokenizer_id: str) -> list[ServedModel]:
    """A base under each of the names that clients know it by."""
    config, longest = base.config, base.longest
    return [
        ServedModel(
            name, longest, config.vocab_size, tokenizer_id, config.family, config.eos_token_ids
        )
        for name in names
    ]
