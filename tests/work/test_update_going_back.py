"""A learner that is ahead of a continued ledger goes back by itself, and comes out like one that never was."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archipel.records.kept import read_kept
from archipel.work import learner
from archipel.work.kinds.update import Updates
from tiny import write_start
from work.trusted import Trusted, position_of

MakeKind = Callable[[], Updates]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_start(tmp_path_factory.mktemp("start"))


@pytest.fixture
def kinds() -> Iterator[MakeKind]:
    made: list[Updates] = []

    def make() -> Updates:
        made.append(Updates())
        return made[-1]

    yield make
    for kind in made:
        kind.close()


@pytest.mark.parametrize("restarted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_memory_that_is_ahead_goes_back_and_makes_the_same_as_one_that_never_was(
    tmp_path: Path, start: Path, kinds: MakeKind, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    monkeypatch.setattr(learner, "SAVE_EVERY", 1)
    trusted, kind = Trusted(tmp_path, start), kinds()
    for _ in range(4):
        trusted.accept(trusted.ask(kind, "memory"))
    ahead, memory = trusted.policies[2:], tmp_path / "memory"
    trusted.cut(1)
    trusted.resample()
    worker = kinds() if restarted else kind
    assert position_of(worker, memory) == 3
    told = trusted.ask(worker, "memory")
    assert told.values["policy"] == trusted.ask(kinds(), "no memory").values["policy"]
    assert told.values["policy"] == ahead[0], "the same answers, in another work"
    (why,) = memory.glob("aside-*/why.json")
    assert "asks for version 2" in read_kept(why.read_bytes())["why"]
    assert {each.name for each in why.parent.iterdir()} >= {"000000003.safetensors", "outbox-3"}


def test_a_version_made_from_other_results_is_made_anew_and_one_from_the_same_is_told_again(
    tmp_path: Path, start: Path, kinds: MakeKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "SAVE_EVERY", 1)
    trusted, kind = Trusted(tmp_path, start), kinds()
    for _ in range(2):
        trusted.accept(trusted.ask(kind, "memory"))
    first = trusted.ask(kind, "memory")
    assert trusted.ask(kinds(), "memory").files.keys() == first.files.keys()
    assert not list((tmp_path / "memory").glob("aside-*"))
    trusted.resample()
    assert trusted.ask(kind, "memory").values["policy"] == first.values["policy"]
    (why,) = (tmp_path / "memory").glob("aside-*/why.json")
    assert "from other results" in read_kept(why.read_bytes())["why"]


def test_a_version_of_the_same_number_in_another_history_is_not_taken_for_it(
    tmp_path: Path, start: Path, kinds: MakeKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "SAVE_EVERY", 1)
    trusted, kind = Trusted(tmp_path, start), kinds()
    for _ in range(2):
        trusted.accept(trusted.ask(kind, "memory"))
    trusted.policies[1] = "sha256:" + "7" * 64
    with pytest.raises(Exception, match="must compute alike"):
        trusted.ask(kinds(), "memory")
    (why,) = (tmp_path / "memory").glob("aside-*/why.json")
    told = read_kept(why.read_bytes())
    assert (told["to"], "version 1 is remembered as" in told["why"]) == (0, True)
