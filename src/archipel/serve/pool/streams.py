"""What was asked of a pool and what has been said of it, whichever lines it went over.

Parts: `Streams`. Law: of every sequence each token is told once, in its order; a request is there until its last
sequence has ended, or it is cancelled.
"""

from dataclasses import dataclass

from archipel.engine.protocol import Events, Ticket
from archipel.records.requests import Request
from archipel.serve.pool.driving import Driver
from archipel.serve.pool.retelling import Said


@dataclass(eq=False)
class Asked:
    """One request."""

    ticket: Ticket
    request: Request
    said: list[list[Said]]
    """By rollout."""
    again: list[int]
    """How many tokens of each rollout come once more, as it goes on over another line."""
    ended: set[int]
    driver: Driver | None = None
    """None: it waits for a line."""


class Streams:
    """By ticket, in the order in which they were asked."""

    def __init__(self) -> None:
        self._asked: dict[Ticket, Asked] = {}
        self.num_moved = 0
        """Sequences that went on over another line."""

    def __len__(self) -> int:
        return len(self._asked)

    def add(self, ticket: Ticket, request: Request) -> None:
        """A request, which waits for a line."""
        count = request.num_rollouts
        said: list[list[Said]] = [[] for _ in range(count)]
        self._asked[ticket] = Asked(ticket, request, said, [0] * count, set())

    def waiting(self) -> list[Asked]:
        """Those that wait for a line."""
        return [each for each in self._asked.values() if each.driver is None]

    def give(self, asked: Asked, driver: Driver) -> None:
        """It runs over this line from now on."""
        asked.driver = driver
        driver.add(asked.ticket, asked.request, asked.said)

    def cancel(self, ticket: Ticket) -> bool:
        """Forget a request; whether anything of it was still to come."""
        asked = self._asked.pop(ticket, None)
        if asked is not None and asked.driver is not None:
            asked.driver.cancel(ticket)
        return asked is not None

    def clear(self) -> None:
        """Forget all."""
        for ticket in list(self._asked):
            self.cancel(ticket)

    def leave(self, driver: Driver) -> int:
        """A line is no more: what ran over it waits for another; how many sequences these are."""
        left = 0
        for each in self._asked.values():
            if each.driver is driver:
                each.driver = None
                each.again = [len(said) for said in each.said]
                left += each.request.num_rollouts - len(each.ended)
        self.num_moved += left
        return left

    def told(self, driver: Driver, events: Events) -> Events:
        """What is new in the events of one line."""
        kept, ended = list[int](), {}
        places = enumerate(events.owners) if events.ended else ()
        ends = {owner: row for row, owner in places if owner in events.ended}
        for row, (ticket, rollout) in enumerate(events.owners):
            asked = self._asked.get(ticket)
            if asked is None or asked.driver is not driver:
                continue  # cancelled while the step was under way
            owner = ticket, rollout
            is_end = ends.get(owner) == row
            if is_end:
                driver.ended(ticket)
            if asked.again[rollout]:
                asked.again[rollout] -= 1
                continue
            kept.append(row)
            asked.said[rollout].append((events.tokens[row], events.logprobs[row]))
            if is_end:
                ended[owner] = events.ended[owner]
                self._end(asked, rollout)
        if len(kept) == len(events):
            return events
        owners, tokens = [events.owners[row] for row in kept], [events.tokens[row] for row in kept]
        return Events(owners, tokens, [events.logprobs[row] for row in kept], ended)

    def _end(self, asked: Asked, rollout: int) -> None:
        asked.ended.add(rollout)
        if len(asked.ended) == asked.request.num_rollouts:
            self.cancel(asked.ticket)  # what had ended may still be told again
