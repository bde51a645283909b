"""Episodes played in rounds: the next turns of all open ones are one batch, whoever answers them.

Parts: `Line` (one episode while it is played), `Step` (what follows a turn), `play_rounds`.
Law: each turn's noise is that of its positions in the whole episode, so what is played beside it does not matter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from archipel.records.episodes import RETOLD, SAMPLED, WRITTEN
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.training.talk import Talk

Generate = Callable[[Sequence[Request], Callable[[int], None]], Sequence[Sequence[Rollout]]]
"""(requests, told the tokens sampled so far) -> per request, its rollouts: `Engine.generate`."""


def unheard(tokens: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Step:
    """What follows a turn of the model."""

    answer: tuple[int, ...] = ()
    """The environment's tokens; () where the episode ends."""
    is_over: bool = False
    """The environment said that it is; else it was cut off."""
    seal: bytes | None = None
    """The trusted role's, where it answers."""
    retells: bool = False
    """These tokens are the prompt of a new sample: all of the conversation, as the template now writes it."""

    @property
    def mark(self) -> int:
        """Of its tokens in a mask."""
        return RETOLD if self.retells else WRITTEN


CUT = Step()


@dataclass
class Line:
    """One episode while it is played."""

    request: Request
    number: int
    """Of the rollout in its group."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    mask: bytearray = field(default_factory=bytearray)
    ends: list[int] = field(default_factory=list)
    """Where each turn of the model ends."""
    retold: int | None = None
    """Where the newest sample's prompt begins; None: it is the request's."""
    talk: Talk | None = None
    """What was said, where somebody here reads it."""
    is_over: bool = False
    seal: bytes | None = None

    def take(self, turn: Rollout) -> None:
        """One more turn of the model."""
        self.tokens += turn.tokens
        self.logprobs += turn.logprobs
        self.mask += bytes([SAMPLED]) * len(turn.tokens)
        self.ends.append(len(self.tokens))

    def follow(self, step: Step) -> bool:
        """Take note of what follows the last turn; whether another comes."""
        if step.retells:
            self.retold = len(self.tokens)
        self.tokens += step.answer
        self.logprobs += [0.0] * len(step.answer)
        self.mask += bytes([step.mark]) * len(step.answer)
        self.is_over, self.seal = step.is_over, step.seal or self.seal
        return bool(step.answer)

    @property
    def last_turn(self) -> list[int]:
        """Its tokens."""
        return self.tokens[len(bytes(self.mask).rstrip(bytes([SAMPLED]))) :]

    @property
    def left(self) -> int:
        """Tokens that there is room for."""
        return self.request.max_new_tokens - len(self.tokens)

    def next_turn(self) -> Request:
        """What to sample next."""
        return replace(
            self.request,
            prompt=self._sample,
            num_rollouts=1,
            max_new_tokens=self.request.max_new_tokens - len(self.tokens),
            first_rollout=self.request.first_rollout + self.number,
            first_position=len(self.tokens),
        )

    @property
    def _sample(self) -> tuple[int, ...]:
        """The newest sample so far, from its prompt on."""
        if self.retold is not None:
            return tuple(self.tokens[self.retold :])
        return (*self.request.prompt, *self.tokens)

    def rollout(self) -> Rollout:
        """The episode as it stands."""
        mask = bytes(self.mask)
        said = tuple(self.tokens), tuple(self.logprobs), self.is_over, mask
        return Rollout(*said, seal=self.seal)


Answer = Callable[[Sequence[Line]], Sequence[Step]]
"""What follows the last turn of each of these."""


def play_rounds(
    generate: Generate,
    requests: Sequence[Request],
    answer: Answer,
    on_progress: Callable[[int], None] = unheard,
) -> list[tuple[Rollout, ...]]:
    """An episode for each rollout of each request. `on_progress`: see `Engine.generate`."""

    def beyond(before: int) -> Callable[[int], None]:
        return lambda tokens: on_progress(before + tokens)

    def still_open(lines: Sequence[Line]) -> list[Line]:
        steps = answer(lines)
        return [line for line, step in zip(lines, steps, strict=True) if line.follow(step)]

    groups = [
        [Line(request, number) for number in range(request.num_rollouts)] for request in requests
    ]
    for lines, turns in zip(groups, generate(requests, on_progress), strict=True):
        for line, turn in zip(lines, turns, strict=True):
            line.take(turn)
    everybody = [line for lines in groups for line in lines]
    sampled = sum(len(line.tokens) for line in everybody)
    playing = still_open(everybody)
    while playing:
        turns_of_all = generate([line.next_turn() for line in playing], beyond(sampled))
        for line, (turn,) in zip(playing, turns_of_all, strict=True):
            line.take(turn)
            sampled += len(turn.tokens)
        playing = still_open(playing)
    return [tuple(line.rollout() for line in lines) for lines in groups]
