"""An agent's way to the machine: `Sharing`, and `ALONE`, that of an agent which shares it with nobody."""

from typing import Protocol


class Sharing(Protocol):
    """An agent's way to the machine."""

    @property
    def runs(self) -> tuple[str, ...] | None:
        """The only runs whose work it may ask for now; None: any."""
        ...

    @property
    def is_here(self) -> bool:
        """Whether it has the machine."""
        ...

    @property
    def longest_s(self) -> float:
        """No work may take longer."""
        ...

    def poll_s(self, most_s: float) -> float:
        """How long the lab may be asked for work."""
        ...

    async def wait(self, *, owes: bool) -> None:
        """Until it has the machine. owes: it has a lease to work at."""
        ...

    def took(self, run: str) -> None:
        """A lease of this run is worked at."""
        ...

    def over(self, *, worked: bool) -> None:
        """It needs the machine no more, for now; one that worked goes on asking."""
        ...


class Alone:
    """Of an agent that shares its machine with nobody."""

    runs: tuple[str, ...] | None = None
    is_here = True
    longest_s = float("inf")

    def poll_s(self, most_s: float) -> float:
        """As long as it likes."""
        return most_s

    async def wait(self, *, owes: bool) -> None:
        """It is there."""

    def took(self, run: str) -> None:
        """Nobody counts."""

    def over(self, *, worked: bool) -> None:
        """Nobody waits."""


ALONE = Alone()
