"""Who waits at a desk, and how much of whose question the engine is given next. Pure.

Parts: `Listener` (who waits for one answer), `Part` (some answers of one question), `Queues`. Laws: keys take turns, and so do the
questions of one key; a question of many answers goes in by parts, each of which waits for few others to end, so that it
keeps nobody waiting, and the next behind whoever came meanwhile, so that it is not kept waiting either.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from archipel.engine.protocol import Event
from archipel.records.requests import Hand, Request, Steering
from archipel.serve.question import Refusal

UNBEGUN = 4
"""Parts of one key in the engine that no token was sampled of. The engine takes turns by arrival alone, so more of them
would be more to wait for; prompts enough for a step to read they are anyway."""
SHARE = 4
"""A part has at most one in so many of the sequences of its length that the engine's cache holds: it waits until all
of it fits, and others wait behind it."""


@dataclass(eq=False)
class Listener:
    """Who waits for one answer. Its two functions are called from the desk's thread, and must not wait."""

    request: Request
    key: str
    hear: Callable[[list[Event]], None]
    fail: Callable[[Refusal], None]
    has_left: bool = False
    num_given: int = 0
    """Sequences that the engine was given so far."""

    @property
    def num_waiting(self) -> int:
        """Sequences that it was not given yet."""
        return self.request.num_rollouts - self.num_given


@dataclass(frozen=True)
class _Later:
    """Steering of the sequences from `first` on."""

    steering: Steering
    first: int

    def hand(self, rollout: int) -> Hand:
        """See `records.requests.Steering`."""
        return self.steering.hand(self.first + rollout)


class Part:
    """Some of a question's sequences, side by side in the engine."""

    def __init__(self, listener: Listener, first: int, count: int) -> None:
        """first: of them."""
        self.listener, self._first, self._count = listener, first, count
        self.remaining = count
        """Sequences that have not ended."""
        self._silent = set(range(count))

    @property
    def request(self) -> Request:
        """What the engine is asked. What it holds of one key's prompts shortens nobody else's answer."""
        whole, first = self.listener.request, self._first
        if self._count == whole.num_rollouts:
            return replace(whole, salt=self.listener.key)
        return replace(
            whole,
            salt=self.listener.key,
            num_rollouts=self._count,
            first_rollout=whole.first_rollout + first,
            steering=None if whole.steering is None else _Later(whole.steering, first),
        )

    @property
    def has_begun(self) -> bool:
        """Whether each of its sequences has a token."""
        return not self._silent

    def told(self, events: list[Event]) -> list[Event]:
        """What was sampled of it, by the numbers that its question's sequences have."""
        self._silent.difference_update(event.rollout for event in events)
        self.remaining -= sum(event.ended is not None for event in events)
        return [event._replace(rollout=self._first + event.rollout) for event in events]


class Queues:
    """Questions of which something is to be given to the engine."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Listener]] = OrderedDict()
        """By key; the first is served next."""

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def of(self, key: str) -> int:
        """How many of this key wait."""
        return len(self._queues.get(key, ()))

    def put(self, listener: Listener) -> None:
        """Behind its own key's."""
        self._queues.setdefault(listener.key, deque()).append(listener)

    def empty(self) -> list[Listener]:
        """Nobody waits any more; who did."""
        waiting = [each for queue in self._queues.values() for each in queue]
        self._queues.clear()
        return waiting

    def next(
        self, free: int, running: Collection[Part], held: Callable[[Request], int]
    ) -> Part | None:
        """Whose turn it is, with at most `free` sequences.

        running: what the engine has; held: how many sequences of a request its cache holds.
        """
        unbegun = Counter(part.listener.key for part in running if not part.has_begun)
        for key in tuple(self._queues):
            queue = self._queues[key]
            while queue and queue[0].has_left:
                queue.popleft()
            is_next = bool(queue) and unbegun[key] < UNBEGUN
            listener = queue.popleft() if is_next else None
            if not queue:
                del self._queues[key]
            if listener is not None:
                if queue:
                    self._queues.move_to_end(key)
                width = max(1, held(listener.request) // SHARE)
                part = Part(listener, listener.num_given, min(listener.num_waiting, free, width))
                listener.num_given += part.remaining
                return part
        return None
