"""Which of a lab's addresses is asked: one lab may answer at several, of which one leads.

Law: an address is left when it does not answer, or says that another lab leads; all are asked in turn, none for ever.
"""

from archipel.node.address import lab_addresses


class Addresses:
    """Of one lab; not safe for several threads."""

    def __init__(self, text: str) -> None:
        """Raises BadAddress."""
        self.every = lab_addresses(text)
        self._place = 0

    @property
    def now(self) -> str:
        """The one that is asked."""
        return self.every[self._place]

    def leave(self, failed: str) -> bool:
        """Go on from the address that failed, unless somebody did already; whether there is another at all."""
        if self.now == failed:
            self._place = (self._place + 1) % len(self.every)
        return len(self.every) > 1

    def __str__(self) -> str:
        """As they are given on a command line."""
        return ",".join(self.every)
