"""Turns at a node and at a trusted role: the first answer stands, every wait ends, and no lie is believed."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from archipel.identity import Identity
from archipel.node import asking
from archipel.node.asking import LeaseTurns, parts_of
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.question import (
    Asked,
    NotAnswered,
    Step,
    answered,
    asked_in,
    replies_to,
    sorted_out,
)
from archipel.node.sealed import NotBelieved
from archipel.node.turn_journal import FILE, KEPT_MS, Journal, Turn
from archipel.node.turn_journal import Place as TurnPlace
from archipel.records.episodes import HOSTED
from archipel.records.parcel import pack_parcel, unpack_parcel
from archipel.records.statements import RunOpened
from archipel.records.turns import (
    Question,
    Reply,
    Said,
    TurnsAnswer,
    TurnsTold,
    pack_replies,
    pack_said,
)
from people import EOS, identity, ref
from turning import TERMS, asked, said, word
from world import World

TRUSTED, NODE = identity("learner"), identity("node")


@pytest.fixture
def story() -> Any:
    world = World()
    world.started(episodes=TERMS, group_size=2, max_new_tokens=12)
    node = world.provider("node", plays=(HOSTED,))
    granted = node.ask()
    assert granted is not None
    yield world, granted
    world.close()


def question(world: World, granted: Any, who: Identity, *turns: Said, work: str = "") -> Asked:
    """As the trusted role gets it from the lab."""
    envelope, (beside,) = unpack_parcel(asked(who, world.state.lab, work or granted.work, *turns))
    lease = world.state.leases[granted.work]
    sealed = world.await_(world.lab.records.at(lease.entry))
    document = Question(asked=envelope.decode(), grant=sealed, opening="")
    return asked_in(document, beside, world.state.lab)


def opened(world: World) -> RunOpened:
    return world.run().opened


class Host:
    """A trusted role's answers: `7 8` to every turn, until `over` of them."""

    def __init__(self, world: World, journal: Journal, over: int = 3) -> None:
        self.world, self.journal, self.over = world, journal, over
        self.played: list[tuple[tuple[int, ...], ...]] = []

    def tell(self, asked: Asked) -> list[Reply]:
        run, work = opened(self.world), asked.word.work
        turns = asked.said
        standing, fresh = sorted_out(
            asked, turns, run.pace, lambda g, r: self.journal.episode(work, g, r)
        )
        self.played += [each.episode.said for each in fresh]
        steps = [
            Step((), True) if len(each.before) + 1 >= self.over else Step((7, 8), False)
            for each in fresh
        ]
        made = answered(run, work, fresh, steps, TRUSTED.sign_bytes)
        self.journal.write(made, asked.grant.deadline_ms, self.world.now_ms)
        return replies_to(turns, standing | {(p.group, p.rollout): turn for p, turn in made})


def test_the_first_answer_stands_over_a_kill_and_other_words_get_none(
    story: Any, tmp_path: Path
) -> None:
    world, granted = story
    host = Host(world, Journal(tmp_path))
    first = host.tell(question(world, granted, NODE, said(0, 0), said(0, 1)))
    host.journal.close()
    again = Host(world, Journal(tmp_path))
    assert again.tell(question(world, granted, NODE, said(0, 0), said(0, 1))) == first
    assert not again.played, "nothing is played twice"
    with pytest.raises(NotAnswered, match=r"turn 0 of group 0, rollout 1 .* the first stand"):
        again.tell(question(world, granted, NODE, said(0, 1, 0, 6)))
    again.tell(question(world, granted, NODE, said(0, 0, 1)))
    assert again.played == [((5, EOS), (5, EOS))]
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("turns", "why"),
    [
        ([said(0, 0, 1)], "answered 0 turns"),
        ([said(9, 0)], "is none of"),
        ([said(0, 2)], "is none of"),
        ([said(0, 0, 0, *range(3, 15))], "13 tokens; an episode has 12"),
        ([said(0, 0, 0, 99)], "token 99"),
        ([Said(group=0, rollout=0, turn=0, tokens=(5,))], "does not end"),
        ([said(0, 0, 0, EOS)], "does not end"),
        ([said(0, 0), said(0, 0, 0, 6)], "asked twice"),
    ],
)
def test_a_turn_that_no_lease_may_ask_gets_no_answer(
    story: Any, tmp_path: Path, turns: list[Said], why: str
) -> None:
    world, granted = story
    host = Host(world, Journal(tmp_path))
    with pytest.raises(NotAnswered, match=why):
        host.tell(question(world, granted, NODE, *turns))
    assert not host.played


def test_an_episode_goes_not_beyond_its_end_or_the_runs_turns(story: Any, tmp_path: Path) -> None:
    world, granted = story
    host = Host(world, Journal(tmp_path), over=2)
    for turn in range(2):
        host.tell(question(world, granted, NODE, said(0, 0, turn)))
    with pytest.raises(NotAnswered, match="after the end"):
        host.tell(question(world, granted, NODE, said(0, 0, 2)))
    endless = Host(world, host.journal, over=99)
    for turn in range(TERMS.turns):
        endless.tell(question(world, granted, NODE, said(0, 1, turn, 3)))
    with pytest.raises(NotAnswered, match="beyond the run's 3 turns"):
        endless.tell(question(world, granted, NODE, said(0, 1, 3, 3)))


def test_a_lease_is_what_the_lab_has_signed_for_this_node(story: Any) -> None:
    world, granted = story
    with pytest.raises(NotBelieved, match="does not hold"):
        question(world, granted, identity("other"), said())
    with pytest.raises(NotBelieved, match="does not hold"):
        question(world, granted, NODE, said(), work="run.99")


def test_what_is_over_is_forgotten(story: Any, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    turn = Turn((5, EOS), (7,), False, bytes(64))
    journal.write([(TurnPlace("run.1", 0, 0, 0), turn)], 1000, 0)
    journal.write([(TurnPlace("run.2", 0, 0, 0), turn)], 10**9, 1000 + KEPT_MS)
    assert journal.episode("run.1", 0, 0) == [turn]
    journal.write([(TurnPlace("run.3", 0, 0, 0), turn)], 10**9, 1001 + KEPT_MS)
    assert journal.episode("run.1", 0, 0) == []
    assert journal.episode("run.2", 0, 0) == [turn]


# --- a node -------------------------------------------------------------------------------------


class FakeLab:
    """Answers what a script says; a function of what was asked, or an error."""

    def __init__(self, lab: str, script: list[Any]) -> None:
        self.lab, self.identity, self.script = lab, NODE, script
        self.numbers = self

    def next(self) -> int:
        return 1

    async def post(self, path: str, document: bytes, blobs: Any, wait_s: float) -> bytes:
        await asyncio.sleep(0.001)
        act = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(act, Exception):
            raise act
        return act(blobs[0])


class Work:
    """As much of a message as turns need."""

    def __init__(self, world: World, granted: Any) -> None:
        self.work, self.opened, self.spec = granted.work, opened(world), granted.spec


def bring(world: World, granted: Any, script: list[Any], *turns: Said, wait_s: float = 5.0) -> Any:
    lab = FakeLab(world.state.lab, script)
    asking_turns = LeaseTurns(lab, Work(world, granted), wait_s)  # type: ignore[arg-type]
    return asyncio.run(asking_turns.bring(turns or [said()]))


def telling(world: World, granted: Any, replies: list[Reply], by: Identity = TRUSTED) -> Any:
    """What a lab hands out that was told so."""
    data = pack_replies(replies)

    def act(beside: bytes) -> bytes:
        fields = {"work": granted.work, "asked": ref(beside).digest, "told": ref(data)}
        sealed = word(by, world.state.lab, 1, TurnsTold, **fields)
        document = TurnsAnswer(told=sealed.decode()).model_dump_json().encode()
        return pack_parcel(document, [data])

    return act


def waiting(beside: bytes) -> bytes:
    return pack_parcel(TurnsAnswer(silent_s=42.0).model_dump_json().encode(), [])


def sound(world: World, granted: Any, tmp_path: Path, *turns: Said) -> list[Reply]:
    host = Host(world, Journal(tmp_path))
    return host.tell(question(world, granted, NODE, *turns))


def test_a_reply_that_was_told_reaches_the_child_through_troubles(
    story: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "FIRST_PAUSE_S", 0.001)
    replies = sound(*story, tmp_path, said())
    script = [LabUnreachable("gone"), waiting, telling(*story, replies)]
    assert bring(*story, script).replies == tuple(replies)


def test_what_the_lab_or_the_wire_altered_is_not_believed(story: Any, tmp_path: Path) -> None:
    one, other = sound(*story, tmp_path, said(0, 0), said(0, 1))
    altered = one.model_copy(update={"answer": (9, 9)})
    ended = one.model_copy(update={"is_over": True})
    anothers = one.model_copy(update={"seal": other.seal})
    for lie in (altered, ended, anothers):
        over = bring(*story, [telling(*story, [lie])], said(0, 0))
        assert over.replies is None
        assert "no seal of the trusted role's" in over.reason
    swapped = bring(*story, [telling(*story, [other])], said(0, 0))
    assert "other turns" in swapped.reason
    by_node = bring(*story, [telling(*story, [one], NODE)], said(0, 0))
    assert "not to ours" in by_node.reason
    assert swapped.fault is by_node.fault is None, "it is not the work's"


def test_a_lost_trusted_role_is_a_named_cause_and_no_hang(story: Any) -> None:
    over = bring(*story, [waiting], wait_s=0.05)
    assert (over.replies, over.fault) == (None, "time")
    assert "asked for turns 42 s ago" in over.reason
    gone = bring(*story, [LabUnreachable("no route")], wait_s=0.05)
    assert "no route" in gone.reason
    refused = bring(*story, [LabRefused("conflict", "not any more", 409)])
    assert (refused.fault, "not any more" in refused.reason) == ("work", True)
    late = bring(*story, [LabRefused("late-result", "over", 409)])
    assert late.fault is None


def test_a_round_is_asked_in_parts_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_TURN_BYTES", 200)
    turns = [said(group, 0, 0, *range(3, 10)) for group in range(7)]
    parts = parts_of(turns)
    assert [each for part in parts for each in part] == turns
    assert len(parts) > 1
    assert all(len(pack_said(part)) <= 200 for part in parts)
