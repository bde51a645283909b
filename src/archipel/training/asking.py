"""Episodes whose environment answers elsewhere: turns are asked for, and what comes back is sealed.

Law: whoever plays so knows of the environment nothing but its answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.records.turns import NO_SEAL, Reply, Said
from archipel.training.rounds import CUT, Generate, Line, Step, play_rounds, unheard

Ask = Callable[[Sequence[Said]], Sequence[Reply]]
"""What follows each of these turns, in order."""


@dataclass(frozen=True)
class Asking:
    """How such episodes go."""

    ask: Ask

    def play(
        self,
        generate: Generate,
        requests: Sequence[Request],
        split: str,
        on_progress: Callable[[int], None] = unheard,
    ) -> list[tuple[Rollout, ...]]:
        """An episode for each rollout of each request, whose keys are numbers of groups; see `play_rounds`.

        A turn that did not end is not asked about: the episode is cut off.
        """
        return play_rounds(generate, requests, self._answered, on_progress)

    def _answered(self, lines: Sequence[Line]) -> list[Step]:
        ended = [line for line in lines if line.tokens[-1] in line.request.stop_tokens]
        said = [
            Said(
                group=int(line.request.key),
                rollout=line.number,
                turn=len(line.ends) - 1,
                tokens=tuple(line.last_turn),
            )
            for line in ended
        ]
        replies = iter(self.ask(said) if said else ())
        asked = {id(line) for line in ended}
        return [_step(next(replies)) if id(line) in asked else _cut(line) for line in lines]


def _step(reply: Reply) -> Step:
    seal = bytes.fromhex(reply.seal)
    return Step(reply.answer, reply.is_over, seal, retells=reply.retells is not None)


def _cut(line: Line) -> Step:
    return CUT if line.seal is not None else Step(seal=NO_SEAL)
