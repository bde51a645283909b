"""What a trusted role notices of its runs while it works for them: alarms, and, where a recipe says so, a pause.

Law: a guard reads what everybody may read, and says what it saw; only a grave alarm that began under its eyes
pauses a run, once for each kind, so that who resumes the run has the last word. Its failures cost nobody work.
"""

import asyncio
import logging
from pathlib import Path

from archipel.curves.concerns import GRAVE, Concern, concerns
from archipel.curves.spells import spells_of
from archipel.node.client import LabClient
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.histories import RunReader
from archipel.node.small_files import Unreadable, read_json, write_json
from archipel.node.standing import Standing
from archipel.records.documents import RunView
from archipel.records.fields import MAX_REASON_CHARACTERS
from archipel.records.pauses import RunPaused

logger = logging.getLogger("archipel.node")

LOOK_EVERY_S = 5.0
NEWEST_VERSIONS = 64
"""Read of a run at the first look."""
OVER = ("complete", "stopped")
FILE = "alarms.json"
MAX_KEPT = 256
"""Runs whose alarms are remembered."""


class Guard:
    """Looks after the runs that one agent works for."""

    def __init__(self, client: LabClient, standing: Standing, home: Path) -> None:
        self._client, self._standing, self._file = client, standing, home / FILE
        self._readers: dict[str, RunReader] = {}
        self._told: dict[str, set[str]] = {}
        """Run -> kinds that stand, as far as somebody was told."""
        self._paused_for: dict[str, list[str]] | None = None
        """Lab and run -> kinds that it was paused for."""

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for run in tuple(self._standing.runs):
                try:
                    await self.look(run)
                except (LabUnreachable, LabRefused, OSError) as error:
                    logger.info("no look at alarms", extra={"run": run, "reason": str(error)})

    async def look(self, run: str) -> None:
        """Tell what begins to go wrong in a run, and pause it where its recipe says so.

        Raises:
            LabUnreachable, LabRefused: from the lab. OSError: what was paused cannot be remembered.
        """
        view = await self._client.read(RunView, f"/runs/{run}")
        reader = self._readers.setdefault(run, RunReader(self._client, run))
        history = await reader.history(view, NEWEST_VERSIONS)
        found = concerns(history)
        self._tell(run, view.version, found)
        if view.phase in OVER:
            for spell in spells_of(history):  # between two looks there may have been more
                self._standing.earlier.setdefault(run, {})[spell.kind] = spell.first
            self._standing.runs.pop(run, None)
            self._readers.pop(run, None)
        elif history.bounds.pause and view.phase != "paused":
            await self._pause(run, [each for each in found if each.kind in GRAVE])

    def _tell(self, run: str, version: int, found: list[Concern]) -> None:
        """An alarm is told when it begins, and again when it comes back."""
        before = self._told.get(run, set())
        self._told[run] = {concern.kind for concern in found}
        self._standing.alarms[run] = tuple(f"{each.kind}: {each.text}" for each in found)
        for concern in found:
            self._standing.earlier.setdefault(run, {}).setdefault(concern.kind, version)
            if concern.kind not in before:
                self._standing.news.append(f"ALARM in run {run}, {concern.kind}: {concern.text}")
                logger.warning("alarm", extra={"run": run, "kind": concern.kind})

    async def _pause(self, run: str, grave: list[Concern]) -> None:
        if self._paused_for is None:
            self._paused_for = await asyncio.to_thread(self._remembered)
        known = self._paused_for.setdefault(f"{self._client.lab} {run}", [])
        fresh = [concern for concern in grave if concern.kind not in known]
        if not fresh:
            return
        reason = "alarm: " + "; ".join(f"{each.kind}: {each.text}" for each in fresh)
        known += [concern.kind for concern in fresh]
        kept = dict(list(self._paused_for.items())[-MAX_KEPT:])
        await asyncio.to_thread(write_json, self._file, {"paused_for": kept})
        await self._client.submit(RunPaused, run=run, reason=reason[:MAX_REASON_CHARACTERS])
        self._standing.news.append(
            f"run {run} is paused; `archipel run resume {run}` lets it go on all the same"
        )

    def _remembered(self) -> dict[str, list[str]]:
        try:
            told = (read_json(self._file) or {}).get("paused_for", {})
            return {str(run): [str(kind) for kind in kinds] for run, kinds in told.items()}
        except (Unreadable, OSError, AttributeError, TypeError) as error:
            logger.warning("alarms unreadable", extra={"reason": str(error)})
            return {}
