"""The node's line tells the truth: what it is at, what it waits for, and what it can be believed."""

from pathlib import Path

import pytest

from archipel.node.settings import NodeSettings
from archipel.node.standing import (
    PROTECTIONS,
    Doing,
    Standing,
    protection_of,
    task_of,
)
from archipel.node.totals import Totals
from archipel.node.wording import doing, duration, line_of, summary_of, waits_for
from specimens import SMALL

GRANT = SMALL["lease.granted (rollout)"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archipel.node.standing.time.monotonic", lambda: 100.0)


pytestmark = pytest.mark.usefixtures("clock")


def test_while_it_works_it_says_on_what_and_how_long_that_may_last() -> None:
    standing, totals = Standing(), Totals()
    standing.works_on(GRANT, 388.0)
    totals.progressed(1200)
    task = task_of(GRANT.spec)
    expected = f"working on {GRANT.work}: {task}, 378 s left, 1200 tokens so far"
    assert doing(standing, totals, 110.0) == expected
    assert waits_for(standing, 110.0) == (
        f"finishing {GRANT.work}, at most 378 s; Ctrl-C again gives it back at once"
    )
    standing.stopping = True
    assert doing(standing, totals, 110.0).startswith(f"finishing {GRANT.work}")
    standing.hurrying = True
    assert waits_for(standing, 110.0) == f"giving {GRANT.work} back, leaving"
    assert "0 s left" in doing(standing, totals, 999.0)


@pytest.mark.parametrize(("is_trusted", "who"), [(True, "this trusted role"), (False, "this node")])
def test_who_turns_to_a_lab_that_continues_its_own_says_what_it_is(
    is_trusted: bool, who: str
) -> None:
    standing = Standing()
    standing.turned("did:key:old", "did:key:new", "https://new", is_trusted=is_trusted)
    assert standing.lab == "did:key:new"
    assert standing.news.pop() == (
        f"the lab did:key:old is continued by did:key:new at https://new: {who} works for that one now"
    )


def test_without_work_ctrl_c_waits_for_nothing() -> None:
    standing = Standing()
    standing.works_on(GRANT, 388.0)
    standing.without_work()
    assert waits_for(standing, 100.0) == "leaving; Ctrl-C again leaves at once"
    standing.hurrying = True
    assert waits_for(standing, 100.0) == "leaving now"


def test_an_absent_lab_is_said_with_the_reason_and_the_next_try_until_it_answers() -> None:
    standing, totals = Standing(), Totals()
    standing.at(Doing.CONNECTING)
    assert doing(standing, totals, 100.0) == "connecting"
    standing.troubled("no answer", "http://lab: connection refused", 12.0)
    standing.troubled("no answer", "http://lab: connection refused", 24.0)
    said = "no answer, trying again in 14 s: http://lab: connection refused"
    assert doing(standing, totals, 110.0) == said
    assert "trying again: " in doing(standing, totals, 130.0)
    standing.well()
    assert doing(standing, totals, 110.0) == "connecting"
    assert list(standing.news) == [
        "no answer: http://lab: connection refused",
        "the lab answers again",
    ]


def test_work_that_goes_on_while_the_lab_is_away_is_said_beside_it() -> None:
    standing, totals = Standing(), Totals()
    standing.works_on(GRANT, 388.0)
    standing.troubled("no answer", "connection refused", 12.0)
    said = doing(standing, totals, 110.0)
    assert said.startswith(f"working on {GRANT.work}")
    assert said.endswith("378 s left; no answer, trying again in 2 s: connection refused")
    standing.troubled("work failed", "time is up", 12.0)
    assert doing(standing, totals, 110.0).startswith("work failed, trying again in 2 s")
    assert waits_for(standing, 110.0).startswith("leaving")
    standing.works_on(GRANT, 388.0)
    assert doing(standing, totals, 110.0).endswith("378 s left"), "old trouble is over"
    standing.without_work()
    assert doing(standing, totals, 110.0) == "bringing the answer to the lab"


def test_waiting_pausing_and_resting_are_told_apart() -> None:
    standing, totals = Standing(), Totals()
    standing.at(Doing.WAITING)
    assert doing(standing, totals, 165.0) == "waiting for work, 1 min"
    standing.at(Doing.RESTING, 130.0)
    assert doing(standing, totals, 110.0) == "resting for 20 s"
    standing.paused("the machine runs on battery")
    standing.at(Doing.PAUSED)
    standing.troubled("no answer", "x", 1.0)
    assert doing(standing, totals, 110.0) == "paused: the machine runs on battery"
    standing.at(Doing.LEAVING)
    assert doing(standing, totals, 110.0) == "leaving"


def test_the_line_begins_with_what_matters_most_and_ends_with_the_last_loss() -> None:
    standing, totals = Standing(), Totals()
    totals.before_micro = 1_000_000
    standing.at(Doing.WAITING)
    assert line_of(standing, totals, 100.0) == (
        "waiting for work, 0 s",
        "0.000000 credits here, 1.000000 in all",
    )
    totals.count("lost", "run.3", "time is up")
    first, second, *_, last = line_of(standing, totals, 100.0)
    assert first.startswith("waiting")
    assert "in all" in second
    assert last == "last loss: run.3 lost: time is up"


def test_nothing_is_said_of_credits_where_nobody_pays() -> None:
    standing, totals = Standing(), Totals(is_unpaid=True)
    standing.joined("did:key:lab", 0)
    totals.count("accepted", "update run 3")
    assert not any("credit" in part for part in line_of(standing, totals, 100.0))
    assert summary_of(standing, totals) == "1 accepted"


def test_the_last_words_are_kept_for_labs_that_were_joined() -> None:
    standing, totals = Standing(), Totals()
    assert summary_of(standing, totals) == ""
    standing.joined("did:key:lab", 0)
    assert summary_of(standing, totals).startswith("0.000000 credits here · no work yet")


def test_protections_are_said_both_ways() -> None:
    assert protection_of(("network", "cpu_time")).startswith(
        "the work process is confined: no network; NOT on this machine: reads only its own files"
    )
    assert protection_of(()).startswith("NOTHING confines")
    standing = Standing()
    standing.confined(("network", "memory"), is_trusted=True)
    assert "NOT on this machine: reads only" in standing.news[-1]
    assert "starts none" not in standing.news[-1], "it starts graders, by design"
    assert "starts none" in protection_of(("network",))


def several(engine: str, count: int) -> str:
    settings = NodeSettings(lab_url="", home=Path("nowhere"), engine=engine, engines=count)  # type: ignore[arg-type]
    return settings.several


def test_engines_that_are_processes_are_told_as_what_was_asked_for_and_not_as_a_lack() -> None:
    held = tuple(PROTECTIONS.keys() - {"no_new_processes"})
    standing = Standing()
    standing.confined(held, False, several("archipel", 2))
    assert standing.news[-1].endswith(
        "; for 2 engines it may start processes, each as confined as it is"
    )
    standing.confined(tuple(set(held) - {"network", "memory"}), False, several("vllm", 1))
    assert standing.news[-1].endswith(
        "; for vllm it may start processes, each as confined as it is and may use the network, by which they meet; "
        "NOT on this machine: bounded memory"
    )
    standing.confined(held, False, several("transformers", 1))
    assert standing.news[-1].endswith("; NOT on this machine: starts none")


def test_durations_are_read_at_a_glance() -> None:
    shown = [duration(s) for s in (-1.0, 0.0, 59.9, 60.0, 3599.0, 7500.0)]
    assert shown == ["0 s", "0 s", "59 s", "1 min", "59 min", "2 h 5 min"]


def test_work_is_named_by_what_it_consists_of() -> None:
    assert task_of(SMALL["lease.granted (update)"].spec).startswith("update ")
    groups = len(GRANT.spec.groups)
    number = "1 group" if groups == 1 else f"{groups} groups"
    assert task_of(GRANT.spec) == f"{number} of version {GRANT.spec.version}"
