"""What an agent keeps of the runs that it works for: how each was opened, its model's files, its recipe and secret.

Law: an opening is believed if an operator of the lab signed it; a recipe is carried out if this machine's operator
approved it; two tasks of an agent that ask for one run fetch it once.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from archipel.node.approvals import is_approved
from archipel.node.client import LabClient
from archipel.node.exchange import believed
from archipel.node.failures import WorkFailure
from archipel.node.home import MODELS_FOLDER, forget_models
from archipel.node.operator import copy_file, is_copy_of, needed_files
from archipel.node.sealed import folder_of, opening_of
from archipel.node.secrets import NoSecret, read_secret
from archipel.node.settings import NodeSettings
from archipel.node.supply import Supply
from archipel.records.documents import Opening
from archipel.records.kinds import Spec
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.payload import BadPayload
from archipel.records.programmes import any_from_canonical
from archipel.records.programmes.rl import RlPace
from archipel.records.recipe_form import InvalidRecipe
from archipel.records.statements import RunOpened
from archipel.records.tasks import tasks_of


class Unprepared(WorkFailure):
    """The machine lacks something that the work needs; the message says what to do."""


class Unapproved(WorkFailure):
    """The work is of a run that this machine's operator did not approve; the message says how to."""

    outcome = "unapproved"


@dataclass
class OpenRun:
    """What an agent keeps of a run between works."""

    opened: RunOpened
    folder: str
    """The run's own folder name, never another run's."""
    model: Path
    recipe: tuple[bytes, str | None] | None = None
    """Its canonical bytes and the name of its secret, once they were needed."""
    data: tuple[str, ...] = ()
    """Files of this machine that its recipe names."""


class OpenRuns:
    """Of one agent."""

    def __init__(self, client: LabClient, supply: Supply, settings: NodeSettings) -> None:
        self._client, self._supply, self._settings = client, supply, settings
        self._runs: dict[str, OpenRun] = {}
        self._opening = asyncio.Lock()

    @property
    def names(self) -> list[str]:
        """Of the runs that are known, in the order in which they were met."""
        return list(self._runs)

    @property
    def opened(self) -> list[RunOpened]:
        """How each of them was opened."""
        return [run.opened for run in self._runs.values()]

    def forget(self) -> None:
        """The lab may be another one: what it said of its runs counts no more."""
        self._runs.clear()

    async def open(self, name: str, news: str | None, *, trusted: bool) -> OpenRun:
        """A run, with the files of its model that this machine needs.

        news: its sealed opening, if it came along. trusted: for work that takes the recipe.

        Raises:
            LabUnreachable, LabRefused: from the lab; also when it shows what does not hold.
            Unapproved: the operator of this machine does not know the recipe.
            StorageFull, OSError: this machine's disk.
        """
        async with self._opening:
            run = self._runs.get(name) or await self._opened(name, news, trusted=trusted)
        self._check_approved(run.opened, trusted=trusted)
        return run

    async def extras(self, run: OpenRun) -> tuple[bytes, bytes | None]:
        """Recipe and secret.

        Raises:
            Unprepared: the secret is missing, or the recipe is none.
            LabUnreachable, LabRefused, StorageFull, OSError: as `open`.
        """
        if run.recipe is None:
            (path,) = await self._supply.fetch(run.opened.recipe)
            data = await asyncio.to_thread(path.read_bytes)
            try:
                recipe = any_from_canonical(data)
            except InvalidRecipe as error:
                raise Unprepared(
                    f"the recipe of {run.opened.run} cannot be used here: {error}"
                ) from None
            run.recipe = data, recipe.secret_name
            run.data = recipe.data_paths
        data, secret = run.recipe
        return data, self._secret(secret)

    async def tasks(self, spec: Spec, pace: RlPace) -> Mapping[int, int] | None:
        """Which task each group of this work has, by the prompts that it names; None: the one of its own number.

        Raises:
            WorkFailure: prompts that do not say it.
            LabUnreachable, LabRefused, StorageFull, OSError: as `open`.
        """
        if pace.episodes is None or not pace.episodes.chooses or not isinstance(spec, RolloutSpec):
            return None
        paths = await self._supply.fetch(*spec.prompts)
        files = dict(zip(spec.prompts, paths, strict=True))
        try:
            return await asyncio.to_thread(
                tasks_of, spec, pace, lambda blob: files[blob].read_bytes()
            )
        except BadPayload as error:
            raise WorkFailure(f"prompts of {spec.run}: {error}") from None

    async def _opened(self, name: str, news: str | None, *, trusted: bool) -> OpenRun:
        sealed = news or (await self._client.read(Opening, f"/runs/{name}/opening")).opening
        founding = self._client.founding
        opened = believed(lambda: opening_of(sealed, founding, name))
        self._check_approved(opened, trusted=trusted)
        folder = folder_of(opened)
        model = self._settings.home / MODELS_FOLDER / folder
        needed = needed_files(opened, trusted=self._settings.trusted)
        for file in opened.model:
            copy = model / file.name
            if file.name in needed and not await asyncio.to_thread(is_copy_of, copy, file.blob):
                (blob,) = await self._supply.fetch(file.blob)
                await asyncio.to_thread(copy_file, blob, copy)
        self._runs[name] = OpenRun(opened, folder, model)
        await asyncio.to_thread(
            forget_models, model.parent, {r.folder for r in self._runs.values()}
        )
        return self._runs[name]

    def _check_approved(self, opened: RunOpened, *, trusted: bool) -> None:
        recipe = opened.recipe.digest
        is_free = self._settings.any_recipe or not trusted
        if not is_free and not is_approved(self._settings.home, recipe):
            raise Unapproved(
                f"run {opened.run} has recipe {recipe}, which this machine's operator did not approve; "
                "to do it, run: archipel update approve RECIPE"
            )

    def _secret(self, name: str | None) -> bytes | None:
        if name is None:
            return None
        folder = self._settings.secrets or self._settings.home / "secrets"
        try:
            return read_secret(folder, name)
        except NoSecret as error:
            raise Unprepared(str(error)) from None
