"""What an agent asks its child of a trusted role's memory, what that answers, and how far it has to go back."""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import Closed, Count, Digest, KindName, RunName

MAX_REMEMBERED = 64
"""Versions that a child may say it remembers of one run."""
MAX_WHY = 600
"""Characters of a sentence about a memory."""
KEPT_ASIDE = 4
"""Folders of what was set aside of one run that stay."""
WHY_FILE = "why.json"
"""In each of them, why."""

FolderName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,127}$")]


class AskRemembered(Closed):
    """Which versions of this run can the lasting memory of this kind go on from?"""

    do: Literal["remembered"] = "remembered"
    kind: KindName
    run: RunName
    folder: FolderName
    """The run's own folder below `memory`."""


class Remembered(Closed):
    """A version that a memory stands at, or could go on from."""

    version: Count
    policy: Digest | None = None
    """State digest of its weights; None: it was saved by a release that did not write that down."""
    parent: Digest | None = None
    """Of the version before; None: unknown, or there is none."""
    inputs: Digest | None = None
    """Of the list of what it was made from; None: unknown, or nothing."""


class GoBack(Closed):
    """A memory remembers what the run's ledger does not confirm."""

    to: Annotated[int, Field(ge=-1)]
    """The newest version in it that the ledger confirms; -1: none."""
    why: Annotated[str, Field(max_length=MAX_WHY)]
