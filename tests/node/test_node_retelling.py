"""Turns asked of the trusted role where contexts are told anew and tasks are chosen: what it would have played itself."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from archipel.engine.engine import LocalEngine
from archipel.model.dialogue import chat_ids
from archipel.node.question import Open, Step, answered, replies_to
from archipel.node.turn_journal import FILE, Journal
from archipel.records.episodes import RETOLD, WRITTEN
from archipel.records.recipe import PromptSection
from archipel.records.requests import Request
from archipel.records.turns import Reply, Said, pack_replies, unpack_replies
from archipel.training.asking import Asking
from archipel.training.episodes import Conduct
from archipel.training.manner import Manner
from archipel.work.seals import check_of
from people import identity
from tiny import tiny_recipe
from training.parrot import Parrot
from training.tiny_learner import tiny_model
from work import asked
from work.played import ENDS, FORGETS

torch.set_num_threads(1)
TRUSTED = identity("learner")
TOKENIZER = replace(asked.TOKENIZER, chat_template=FORGETS, end_ids=tuple(ENDS))
RULES = Conduct(Parrot(3), Manner(TOKENIZER, True, "plain", (), PromptSection()), 8)
TASKS = {6: 3, 7: 1}
LIMIT, WORK = 90, "tiny.5"
OPENED = asked.opened(tiny_recipe(2, 0)).model_copy(update={"trusted": (TRUSTED.did,)})
OPENED = OPENED.model_copy(
    update={"pace": OPENED.pace.model_copy(update={"stop_tokens": tuple(ENDS)})}
)
MODEL = tiny_model(3, vocab_size=64, max_position_embeddings=128)


def requests() -> list[Request]:
    def prompt(task: int) -> tuple[int, ...]:
        text = Parrot().task("train", task).prompt
        return tuple(chat_ids(TOKENIZER, [{"role": "user", "content": text}]))

    return [
        Request(str(group), prompt(task), group, 6, LIMIT, 1.3, tuple(ENDS))
        for group, task in TASKS.items()
    ]


def engine() -> LocalEngine:
    made = LocalEngine(MODEL.config)
    made.load({name: each.detach().bfloat16() for name, each in MODEL.named_parameters()})
    return made


class Host:
    """The trusted role, as far as it judges, answers, seals and writes down."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder)

    def ask(self, turns: Sequence[Said]) -> Sequence[Reply]:
        fresh = []
        for said in turns:
            before = tuple(self.journal.episode(WORK, said.group, said.rollout))
            taken = sum(len(each.said) + len(each.answer) for each in before) + len(said.tokens)
            fresh.append(Open(said, before, LIMIT - taken, TASKS[said.group]))
        steps = []
        for each in fresh:
            told = each.episode
            step = RULES.after("train", told.task, told.said, told.left)
            steps.append(Step(step.answer, step.is_over, step.retells))
        made = answered(OPENED, WORK, fresh, steps, TRUSTED.sign_bytes)
        self.journal.write(made, 10**9, 0)
        kept = {
            (said.group, said.rollout): self.journal.episode(WORK, said.group, said.rollout)[-1]
            for said in turns
        }
        return unpack_replies(pack_replies(replies_to(turns, kept)))


def test_turns_that_are_asked_make_the_episode_that_the_trusted_role_would_play(
    tmp_path: Path,
) -> None:
    at_home = RULES.choosing(TASKS.__getitem__).play(engine().generate, requests(), "train")
    played = Asking(Host(tmp_path).ask).play(engine().generate, requests(), "train")
    assert [[replace(each, seal=None) for each in group] for group in played] == [
        list(group) for group in at_home
    ]
    check, other = check_of(OPENED, TASKS.__getitem__), check_of(OPENED, {6: 1, 7: 3}.__getitem__)
    num_retold = 0
    for group, rollouts in zip(TASKS, played, strict=True):
        for number, one in enumerate(rollouts):
            sent = replace(one, work=WORK)
            assert check(group, number, sent)
            if one.seal and any(one.seal):
                assert not other(group, number, sent), "an answer about another task"
                assert not check_of(OPENED)(group, number, sent)
            if RETOLD in one.sampled:
                num_retold += 1
                plain = one.sampled.replace(bytes([RETOLD]), bytes([WRITTEN]))
                assert not check(group, number, replace(sent, sampled=plain))
    assert num_retold > 1


def test_a_journal_of_an_older_version_is_gone_on_with(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as file, file:
        file.execute(
            "CREATE TABLE turns (work TEXT, grp INTEGER, rollout INTEGER, turn INTEGER, said BLOB, answer BLOB, "
            "is_over INTEGER, seal BLOB, expires_ms INTEGER, PRIMARY KEY (work, grp, rollout, turn)) WITHOUT ROWID"
        )
        row = ("tiny.1", 0, 0, 0, b"\2\0\0\0", b"\3\0\0\0", 0, bytes(64), 10**12)
        file.execute("INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    journal = Journal(tmp_path)
    (turn,) = journal.episode("tiny.1", 0, 0)
    assert (turn.said, turn.answer, turn.retells) == ((2,), (3,), False)
    Host(tmp_path).ask([Said(group=6, rollout=0, turn=0, tokens=(30, 2))])
    assert len(Journal(tmp_path).episode(WORK, 6, 0)) == 1
