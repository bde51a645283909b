"""`Hands` of a network: every turn is a question to a lab's nodes, and the state after it stays there until it is kept.

Parts: `RemoteHands`, `open_hands`. Laws: a model's next turn names the question that brought its state, so a door that died goes on
where the lab's record is; a turn whose answer is no good counts as never asked; a model whose turn failed is gone until it is
restored.
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
from archipel.door.remote.asking import Asking, Patience
from archipel.door.remote.history import Place
from archipel.door.remote.kept import read_kept, write_kept
from archipel.door.remote.lab import Lab
from archipel.door.remote.prompts import Prompts
from archipel.door.remote.shelf import Shelf
from archipel.door.remote.states import STATE_FILES, publish_state, without_moments
from archipel.door.remote.training import Site, Training
from archipel.records.fields import MAX_SEQ
from archipel.training.tenants.parcels import num_tokens_of
from archipel.work.packed import BadFolder


@dataclass
class _Model:
    form: ModelForm
    place: Place
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Its calls are done one after the other."""


class RemoteHands:
    """See `door.hands.Hands`."""

    def __init__(self, lab: Lab, site: Site, folder: Path, asking: Asking) -> None:
        """folder: holds `model`, the run's configuration and tokenizer; bytes pass through it."""
        self._site, self._asking = site, asking
        self._config = folder / "model"
        self._shelf = Shelf(lab, folder / "passing")
        self._training = Training(site, asking, self._shelf)
        self._prompts = Prompts(site, asking, self._shelf, self._training)
        self._models: dict[str, _Model] = {}

    async def begin(self) -> None:
        """Learn what the lab has of earlier. Raises HandsLost."""
        await self._asking.begin()
        await self._training.begin()

    def models(self) -> Sequence[ServedModel]:
        """See `Hands`."""
        return self._site.served

    @property
    def counts(self) -> dict[str, int]:
        """What is done and waits, for a progress line and metrics."""
        return {"models": len(self._models), **self._asking.counts}

    async def create(self, model: str, form: ModelForm) -> None:
        """See `Hands`."""
        self._check(form)
        self._models[model] = _Model(form, Place.at_first(form.form, form.seed))

    async def restore(self, model: str, form: ModelForm, kept: Path, optimiser: bool) -> None:
        """See `Hands`."""
        self._check(form)
        place = await asyncio.to_thread(read_kept, kept, self._site.run) if optimiser else None
        if place is not None and place.begins is not None:
            same = Place.at_first(form.form, form.seed) == place
            if not same:
                raise CannotDo("what was kept is the beginning of another form; name another")
        elif place is None or place.number not in self._training.history.known:
            place = await self._sent(form, kept, optimiser=optimiser)
        self._training.history.kept(model, place)
        self._models[model] = _Model(form, place)

    async def forget(self, model: str) -> None:
        """See `Hands`."""
        self._models.pop(model, None)
        self._training.history.left(model)
        await self._training.make_room()

    async def train(self, turn: Turn) -> TurnDone:
        """See `Hands`."""
        model = self._held(turn.model)
        async with model.turn:
            try:
                outcomes, model.place = await self._training.done(turn, model.place)
            except BaseException as error:
                if self._models.get(turn.model) is model:
                    del self._models[turn.model]
                if isinstance(error, CannotDo):
                    raise HandsLost(str(error)) from None
                raise
        return TurnDone(outcomes, num_tokens_of(turn.operations) if turn.operations else 0)

    async def keep(self, model: str, folder: Path) -> None:
        """See `Hands`."""
        held = self._held(model)
        async with held.turn:
            if held.place.state is None:
                await asyncio.to_thread(folder.mkdir, parents=True)
            else:
                await self._fetched(held.place, folder)
            await asyncio.to_thread(write_kept, folder, self._site.run, held.place)
            self._training.history.kept(model, held.place)
        await self._training.make_room()

    async def publish(self, model: str, folder: Path) -> None:
        """See `Hands`."""
        held = self._held(model)
        async with held.turn:
            turn = Turn(model, "", 1, ())
            held.place = await self._training.made(turn, held.place)
            async with self._shelf.place() as state:
                await self._fetched(held.place, state)
                form = held.form
                await asyncio.to_thread(
                    publish_state, state, form.form, self._config, folder, form.base
                )

    async def sample(self, asked: SampleAsked) -> Sampled:
        """See `Hands`."""
        return await self._prompts.sampled(asked)

    def close(self) -> None:
        """Wait for nothing any more; who still waits is told."""
        self._prompts.close()

    async def _fetched(self, place: Place, folder: Path) -> None:
        """Raises HandsLost: the lab has no such state any more, or a node sent none."""
        state = place.state
        if state is None:
            raise TypeError("this place has no state")
        try:
            await self._asking.patiently(
                lambda: self._shelf.fetch_folder(state, STATE_FILES, folder)
            )
        except BadFolder as error:
            if place.number is not None:
                await self._training.withdraw([place.number])
            raise HandsLost(f"the state after question {place.number} is none: {error}") from None

    async def _sent(self, form: ModelForm, kept: Path, *, optimiser: bool) -> Place:
        """The state in a folder, at the lab."""
        async with self._shelf.place() as state:
            if optimiser:
                await asyncio.to_thread(_copy_state, kept, state)
            else:
                await asyncio.to_thread(without_moments, kept, form.form, self._config, state)
            blob = await self._asking.patiently(lambda: self._shelf.put_folder(state))
        return Place(state=blob)

    def _held(self, name: str) -> _Model:
        held = self._models.get(name)
        if held is None:
            raise HandsLost("this model is not at hand; restore it from what was kept last")
        return held

    def _check(self, form: ModelForm) -> None:
        """Raises CannotDo: the run takes no such adapter."""
        self._site.check_base(form.base)
        if form.form.rank > self._site.pace.rank:
            raise CannotDo(
                f"an adapter of rank {form.form.rank}; this door's network takes at most {self._site.pace.rank}"
            )
        if not 0 <= form.seed <= MAX_SEQ:
            raise CannotDo(f"seed {form.seed}; expected 0 to {MAX_SEQ}")


def _copy_state(kept: Path, folder: Path) -> None:
    """The files of a state, without what else was kept beside them. Raises CannotDo."""
    folder.mkdir()
    try:
        for name in sorted(STATE_FILES):
            if (kept / name).is_file():
                shutil.copyfile(kept / name, folder / name)
    except OSError as error:
        raise CannotDo(f"what was kept cannot be read: {error.strerror}") from None


async def open_hands(
    lab: Lab,
    site: Site,
    folder: Path,
    patience: Patience,
    clock: Callable[[], float] = time.monotonic,
) -> RemoteHands:
    """Begin where the lab's record is.

    Raises:
        HandsLost: the lab does not answer, or refuses.
    """
    hands = RemoteHands(lab, site, folder, Asking(lab, patience, clock))
    await hands.begin()
    return hands
