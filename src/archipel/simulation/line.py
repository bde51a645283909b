"""Who stands in the lab's line, in a large crowd: whoever has an award, and of all others a few at a time.

The lab serves who came first, so those behind the first of the others would only be passed over, at every record. A
node without an award waits beside the line, in the order of its coming, until one of the few is given work.
"""

from collections import deque
from collections.abc import Callable, Iterable

from archipel.lab.state import LabState
from archipel.simulation.trade import last_round

ON_CALL = 4


class Line:
    """Of one run."""

    def __init__(
        self,
        state: Callable[[], LabState],
        run: str,
        may_stand: Callable[[str], bool],
        stand: Callable[[str], None],
    ) -> None:
        self._state = state
        self._run = run
        self._may_stand = may_stand
        self._stand = stand
        self._beside: deque[str] = deque()
        self.on_call: set[str] = set()
        """Of those without an award, who stands in the lab's line."""

    def join(self, did: str) -> None:
        """A node would work."""
        last = last_round(self._state(), self._run)
        if last is None or did in last.awards:
            self._stand(did)
            return
        self._beside.append(did)
        self.call()

    def call(self) -> None:
        """The next of those beside it stand in line."""
        while self._beside and len(self.on_call) < ON_CALL:
            did = self._beside.popleft()
            if self._may_stand(did):
                self.on_call.add(did)
                self._stand(did)

    def left(self, did: str) -> None:
        """It was given work, or went."""
        self.on_call.discard(did)

    def begin_anew(self, waiting: Iterable[str]) -> list[str]:
        """A round was cleared: everybody comes anew. Of those in line, who has no award any more and is not on call."""
        self._beside.clear()
        last = last_round(self._state(), self._run)
        if last is None:
            return []
        return [did for did in waiting if did not in last.awards and did not in self.on_call]
