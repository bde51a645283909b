"""Which prompts are being read, how far each has come, and whose turn is next.

Parts: `Reading` (one prompt on its way into the cache), `Prompts`. A prompt is due when as many positions have been
read, of anybody's, as had been when it came plus its own length; the first due goes on. So a short one overtakes a
long one, and nobody who comes later than a prompt's own length of work overtakes it.
Law: pure; pieces begin at multiples of the block, so that where a prompt is cut follows from its own length, never
from whose turn it was.
"""

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from archipel.engine.attention import round_up
from archipel.engine.prefill import GRANULE, Prompt
from archipel.engine.prefixes import Chain
from archipel.engine.protocol import Ticket
from archipel.engine.scheduler import Admission
from archipel.records.requests import Request


@dataclass(eq=False)
class Reading:
    """A prompt that is being read for the slots that will continue it."""

    request: Request
    admission: Admission
    adapter: int
    """Its number among the decoder's adapters."""
    chain: Chain | None = None
    """What names its blocks to others of the same salt; None: nobody shares them."""
    done: int = 0
    """Positions that the cache holds of it: a multiple of the block, or all."""
    told: bytearray = field(default_factory=bytearray)
    """The experts that its tokens were sent to, where somebody wants to know."""

    @property
    def prompt(self) -> Prompt:
        """What a pass is fed."""
        return Prompt(self.request.prompt, self.admission.slots, self.adapter)

    @property
    def length(self) -> int:
        """Of the prompt, in positions."""
        return len(self.request.prompt)

    @property
    def has_ended(self) -> bool:
        """Whether all of it is in the cache."""
        return self.done == self.length


class Prompts:
    """Those that slots wait for, first due first."""

    def __init__(self, block: int) -> None:
        """`block`: positions of one prompt that are read at a time."""
        self._block = block
        self._due: list[tuple[int, int, Reading]] = []
        self._num_added = 0
        self._clock = 0
        """Positions read so far."""

    def __len__(self) -> int:
        return len(self._due)

    @property
    def slots(self) -> list[int]:
        """Those that wait for a prompt."""
        return [slot for *_, each in self._due for slot in each.admission.slots]

    @property
    def first(self) -> Reading:
        """Whose turn it is; there must be one."""
        return self._due[0][-1]

    def add(self, reading: Reading) -> None:
        """Let it take its turns."""
        bisect.insort(self._due, (self._clock + reading.length, self._num_added, reading))
        self._num_added += 1

    def piece(self, reading: Reading) -> int:
        """Positions that its next turn takes, unless others of its kind come along."""
        return min(self._block, reading.length - reading.done)

    def batch(self, most: int) -> list[Reading]:
        """Whose pieces go through the network next: the first's, and where it is a whole short prompt, others alike.

        `most`: padded positions together, if it is more than one.
        """
        first = self.first
        padded = round_up(first.length, GRANULE)
        if padded > self._block:
            return [first]
        alike = (each for *_, each in self._due if round_up(each.length, GRANULE) == padded)
        return [each for each, _ in zip(alike, range(max(1, most // padded)), strict=False)]

    def advance(self, batch: Iterable[Reading]) -> None:
        """One piece of each has been read; those that have ended wait no more."""
        for each in batch:
            size = self.piece(each)
            each.done += size
            self._clock += size
        self._due = [entry for entry in self._due if not entry[-1].has_ended]

    def withdraw(self, ticket: Ticket) -> list[int]:
        """Forget what is being read of a request; the slots that it leaves."""
        left = [each for *_, each in self._due if each.admission.ticket == ticket]
        self._due = [entry for entry in self._due if entry[-1].admission.ticket != ticket]
        return [slot for each in left for slot in each.admission.slots]

    def move(self, targets: Mapping[int, int]) -> None:
        """Slots have changed: slot `s` is `targets[s]` now, where that is there."""
        for *_, each in self._due:
            slots = tuple(targets.get(slot, slot) for slot in each.admission.slots)
            each.admission = replace(each.admission, slots=slots)

    def farthest(self, slots: Iterable[int]) -> int:
        """Positions that are held of the longest among these slots; 0 where none of them is being read."""
        wanted = set(slots)
        return max(
            (each.done for *_, each in self._due if wanted.intersection(each.admission.slots)),
            default=0,
        )
