"""Episodes whose turns were answered by the trusted role, checked by its seals: no environment, no secret, no journal.

Parts: `seal_for` (makes one), `check_of` and `is_sealed` (of a whole episode), `is_reply_sealed` (of a reply as it comes). Law: what an episode's last seal does not cover
is not believed; not shown is that the trusted role answered by the environment's rules, as little as that it graded so.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from archipel.identity import IdentityError, did_to_public_key, verify_bytes
from archipel.records.episodes import RETOLD, SAMPLED, WRITTEN, turns_of
from archipel.records.programmes.rl import RlPace
from archipel.records.rollouts import Rollout
from archipel.records.statements import RunOpened
from archipel.records.turns import NO_SEAL, Place, seal_of

Check = Callable[[int, int, Rollout], bool]
"""Whether (group, number of the rollout in it, rollout) is what the environment answered."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An episode up to a reply."""

    said: tuple[tuple[int, ...], ...]
    """The model's turns."""
    told: tuple[tuple[int, ...], ...]
    """The environment's answers to each of them."""
    retold: tuple[int, ...] = ()
    """Numbers, from 0, of those that are the prompt of a new sample."""

    def flat(self) -> tuple[tuple[int, ...], bytes, int]:
        """Tokens, their mask, and where the last turn ends."""
        tokens: list[int] = []
        mask, end = bytearray(), 0
        for number, (said, told) in enumerate(zip(self.said, self.told, strict=True)):
            mark = RETOLD if number in self.retold else WRITTEN
            end = len(tokens) + len(said)
            tokens += [*said, *told]
            mask += bytes([SAMPLED]) * len(said) + bytes([mark]) * len(told)
        return tuple(tokens), bytes(mask), end


def seal_for(
    sign: Callable[[bytes], bytes], place: Place, episode: Answered, *, is_over: bool
) -> bytes:
    """The seal of an episode's last reply; `sign` is the trusted key's."""
    tokens, mask, end = episode.flat()
    return sign(seal_of(place, tokens, mask, end, is_over=is_over))


def check_of(opened: RunOpened, chosen: Callable[[int], int] | None = None) -> Check:
    """The check of a run whose turns are asked. chosen: which task a group has, where tasks are chosen."""
    stops = opened.pace.stop_tokens if isinstance(opened.pace, RlPace) else ()

    def holds(group: int, number: int, rollout: Rollout) -> bool:
        task = None if chosen is None else chosen(group)
        place = Place(opened.lab, opened.run, rollout.work, group, number, task)
        return is_sealed(rollout, place, stops, opened.trusted)

    return holds


def is_sealed(rollout: Rollout, place: Place, stops: Collection[int], keys: Sequence[str]) -> bool:
    """Whether one of `keys` sealed the last reply of this episode, and so all of it.

    1 which turn was answered last  2 what followed it ends the episode, or is the answer before a turn that was cut
    3 the seal is over exactly that.
    """
    # 1
    mask, seal = rollout.sampled or b"", rollout.seal
    turns = turns_of(mask)
    ended = [number for number, (_, end) in enumerate(turns) if rollout.tokens[end - 1] in stops]
    if not turns or seal is None or turns[-1][1] != len(mask):
        return False
    if not ended:
        return len(turns) == 1 and seal == NO_SEAL and not rollout.finished
    # 2
    last = ended[-1]
    is_last = last == len(turns) - 1
    if not is_last and (last != len(turns) - 2 or rollout.finished):
        return False
    upto = len(mask) if is_last else turns[last + 1][0]
    # 3
    message = seal_of(
        place, rollout.tokens[:upto], mask[:upto], turns[last][1], is_over=rollout.finished
    )
    return any(_is_signed(message, seal, key) for key in keys)


def is_reply_sealed(
    place: Place, episode: Answered, *, is_over: bool, seal: bytes, keys: Sequence[str]
) -> bool:
    """The same for a reply as it comes."""
    tokens, mask, end = episode.flat()
    message = seal_of(place, tokens, mask, end, is_over=is_over)
    return any(_is_signed(message, seal, key) for key in keys)


def _is_signed(message: bytes, seal: bytes, key: str) -> bool:
    try:
        verify_bytes(did_to_public_key(key), message, seal)
    except IdentityError:
        return False
    return True
