"""A question as a trusted role judges it: whose lease it is, whether these turns may be asked, what stands already.

Law: pure. A lease is what the lab has signed; a turn is answered once, in order, within the run's bounds; whoever asks
otherwise is told so, and gets nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from archipel.node.sealed import NotBelieved, lease_in
from archipel.node.turn_journal import Place as TurnPlace
from archipel.node.turn_journal import Turn
from archipel.node.turn_words import heard
from archipel.records.canonical import sha256_digest
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.programmes.rl import RlPace
from archipel.records.statements import LeaseGranted, RunOpened
from archipel.records.turns import BadTurns, Place, Question, Reply, Said, TurnsAsked, unpack_said
from archipel.work.messages import OpenEpisode
from archipel.work.seals import Answered, seal_for


class NotAnswered(Exception):
    """The asker's own fault: these turns get no reply, now or later."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was believed."""

    word: TurnsAsked
    grant: LeaseGranted
    data: bytes
    """A list of `Said`, unread."""

    @property
    def said(self) -> tuple[Said, ...]:
        """The turns. Raises NotAnswered: these are none."""
        try:
            return unpack_said(self.data)
        except BadTurns as error:
            raise NotAnswered(str(error)) from None


@dataclass(frozen=True, slots=True)
class Open:
    """A turn that was not answered yet."""

    said: Said
    before: tuple[Turn, ...]
    left: int
    """Tokens that there is room for after it."""
    task: int | None
    """What its group plays, where tasks are chosen; None: the one of its number."""

    @property
    def episode(self) -> OpenEpisode:
        """For the environment."""
        spoken = (*(turn.said for turn in self.before), self.said.tokens)
        task = self.said.group if self.task is None else self.task
        return OpenEpisode(task=task, said=spoken, left=self.left)


@dataclass(frozen=True, slots=True)
class Step:
    """What the environment answers."""

    answer: tuple[int, ...]
    is_over: bool
    retells: bool = False
    """The answer is the prompt of a new sample."""


def asked_in(question: Question, said: bytes, lab: str) -> Asked:
    """1 the node's own words  2 the lab's grant of that lease to it  3 the bytes that it names.

    Raises:
        NotBelieved: it is the lab's fault, or the wire's.
    """
    # 1
    word = heard(question.asked, TurnsAsked, lab)
    # 2
    grant = lease_in(question.grant, lab)
    if (grant.work, grant.node) != (word.work, word.author):
        raise NotBelieved(
            "bad-turns", f"{word.author} asks about {word.work}, which it does not hold"
        )
    # 3
    if sha256_digest(said) != word.said.digest:
        raise NotBelieved("bad-turns", "what was said is not what the node names")
    return Asked(word, grant, said)


def pace_of(opened: RunOpened, asked: Asked, key: str) -> RlPace:
    """The pace of a run that this trusted role answers for. Raises NotBelieved: it does not."""
    pace, spec = opened.pace, asked.grant.spec
    if key not in opened.trusted or spec.run != opened.run or not isinstance(spec, RolloutSpec):
        raise NotBelieved("bad-turns", f"{asked.word.work} is no lease that this key answers for")
    if not isinstance(pace, RlPace) or pace.episodes is None or not pace.episodes.is_hosted:
        raise NotBelieved("bad-turns", f"run {opened.run} asks no turns")
    return pace


def sorted_out(
    asked: Asked,
    turns: Sequence[Said],
    pace: RlPace,
    history: Callable[[int, int], Sequence[Turn]],
    tasks: Mapping[int, int] | None = None,
) -> tuple[dict[tuple[int, int], Turn], list[Open]]:
    """(group, rollout) -> the reply that stands already, and what is to be answered.

    history: what was answered in an episode of this lease, by group and rollout. tasks: of its groups, where tasks are
    chosen.

    Raises:
        NotAnswered: a turn that this lease may not ask.
    """
    standing: dict[tuple[int, int], Turn] = {}
    fresh: list[Open] = []
    seen: set[tuple[int, int]] = set()
    for said in turns:
        key = (said.group, said.rollout)
        if key in seen:
            raise NotAnswered(f"{_named(said)} is asked twice at once")
        seen.add(key)
        before = tuple(history(*key))
        if said.turn < len(before):
            if before[said.turn].said != said.tokens:
                raise NotAnswered(
                    f"{_named(said)} was answered before, to other words: the first stand"
                )
            standing[key] = before[said.turn]
        else:
            opened = _opened(asked, pace, said, before)
            fresh.append(replace(opened, task=None if tasks is None else tasks[said.group]))
    return standing, fresh


def _opened(asked: Asked, pace: RlPace, said: Said, before: tuple[Turn, ...]) -> Open:
    """Raises NotAnswered."""
    spec, terms = asked.grant.spec, pace.episodes
    groups = spec.groups if isinstance(spec, RolloutSpec) else ()
    if said.group not in groups or said.rollout >= pace.group_size:
        raise NotAnswered(f"{_named(said)} is none of {asked.word.work}")
    if said.turn > len(before):
        raise NotAnswered(
            f"{_named(said)} is asked, but this trusted role answered {len(before)} turns of it in this lease"
        )
    if before and not before[-1].answer:
        raise NotAnswered(f"{_named(said)} comes after the end of its episode")
    if terms is None or said.turn >= terms.turns:
        raise NotAnswered(f"{_named(said)} is beyond the run's {terms.turns if terms else 0} turns")
    if said.tokens[-1] not in pace.stop_tokens or set(said.tokens[:-1]) & set(pace.stop_tokens):
        raise NotAnswered(f"{_named(said)} does not end where a turn ends")
    if max(said.tokens) >= pace.vocab_size:
        raise NotAnswered(f"{_named(said)} holds token {max(said.tokens)}, which there is not")
    taken = sum(len(turn.said) + len(turn.answer) for turn in before) + len(said.tokens)
    if taken > pace.max_new_tokens:
        raise NotAnswered(
            f"{_named(said)} has {taken} tokens; an episode has {pace.max_new_tokens} at most"
        )
    return Open(said, before, pace.max_new_tokens - taken, None)


def answered(
    opened: RunOpened,
    work: str,
    fresh: Sequence[Open],
    steps: Sequence[Step],
    sign: Callable[[bytes], bytes],
) -> list[tuple[TurnPlace, Turn]]:
    """Turns with their replies, sealed. steps: what the environment answers to each."""
    found = []
    for each, step in zip(fresh, steps, strict=True):
        said = each.said
        place = Place(opened.lab, opened.run, work, said.group, said.rollout, each.task)
        spoken = (*(turn.said for turn in each.before), said.tokens)
        told = (*(turn.answer for turn in each.before), step.answer)
        marks = (*(turn.retells for turn in each.before), step.retells)
        retold = tuple(number for number, retells in enumerate(marks) if retells)
        seal = seal_for(sign, place, Answered(spoken, told, retold), is_over=step.is_over)
        turn = Turn(said.tokens, step.answer, step.is_over, seal, step.retells)
        found.append((TurnPlace(work, said.group, said.rollout, said.turn), turn))
    return found


def replies_to(asked: Sequence[Said], turns: dict[tuple[int, int], Turn]) -> list[Reply]:
    """In the order of the question."""
    return [
        Reply(
            group=said.group,
            rollout=said.rollout,
            turn=said.turn,
            answer=(turn := turns[said.group, said.rollout]).answer,
            is_over=turn.is_over,
            seal=turn.seal.hex(),
            retells=True if turn.retells else None,
        )
        for said in asked
    ]


def _named(said: Said) -> str:
    return f"turn {said.turn} of group {said.group}, rollout {said.rollout}"
