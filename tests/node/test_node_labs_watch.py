"""`labs.toml` is read again when it changed and stands still; what is no such file is said once and changes nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from archipel.node import labs_watch
from archipel.node.lab_part import change_words, folder_of, parts_of, settings_for
from archipel.node.labs_file import BadLabs, Labs, Served, name_of
from archipel.node.labs_watch import LabsWatch
from archipel.node.settings import MIN_MEMORY_BYTES, NodeSettings

ONE, TWO = "http://one.example", "http://two.example"


def write(home: Path, text: str) -> None:
    """As an editor that replaces the file."""
    (home / "partial").write_text(text)
    (home / "partial").replace(home / "labs.toml")


def entry(at: str, **said: object) -> str:
    more = "".join(f"\n{name} = {value}" for name, value in said.items())
    return f'[[labs]]\nat = "{at}"{more}\n'


def names(labs: Labs | None) -> list[str] | None:
    return None if labs is None else [name_of(each) for each in labs.labs]


def test_a_changed_file_is_read_once_it_stands_still_and_labs_of_the_command_line_stay(
    tmp_path: Path,
) -> None:
    watch = LabsWatch(tmp_path, [TWO])
    assert names(watch.labs) == [TWO]
    assert watch.look() is None
    write(tmp_path, entry(ONE))
    assert watch.look() is None, "somebody may be writing"
    write(tmp_path, entry(ONE, weight=2.0))
    assert watch.look() is None, "it changed again"
    found = watch.look()
    assert names(found) == [ONE, TWO]
    assert found is watch.labs
    assert found.labs[0].weight == 2.0
    assert watch.look() is None
    write(tmp_path, "\n" + entry(ONE, weight=2.0))
    assert [watch.look() for _ in range(3)] == [None] * 3, "it says the same"
    (tmp_path / "labs.toml").unlink()
    assert watch.look() is None
    assert names(watch.look()) == [TWO]


def test_a_broken_file_is_said_once_and_a_mended_one_counts(tmp_path: Path) -> None:
    write(tmp_path, entry(ONE))
    watch = LabsWatch(tmp_path)
    write(tmp_path, entry(ONE, wait=1))
    assert watch.look() is None
    with pytest.raises(BadLabs, match=r"labs\.0\.wait"):
        watch.look()
    assert (watch.look(), names(watch.labs)) == (None, [ONE])
    (tmp_path / "labs.toml").unlink()
    assert watch.look() is None
    with pytest.raises(BadLabs, match="no lab to serve"):
        watch.look()
    write(tmp_path, entry(ONE))
    assert [watch.look(), watch.look()] == [None, None], "as it was before"
    write(tmp_path, entry(TWO))
    watch.look()
    assert names(watch.look()) == [TWO]
    with pytest.raises(BadLabs):
        LabsWatch(tmp_path / "nowhere")


@pytest.mark.parametrize("why", [OSError(24, "Too many open files"), MemoryError("Too many")])
def test_a_file_that_cannot_be_read_now_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: Exception
) -> None:
    """As long as the process may open no more files, say: the change is not lost."""
    write(tmp_path, entry(ONE))
    watch = LabsWatch(tmp_path)

    def refused(*_: object) -> Labs:
        raise why

    for at in (TWO, ONE):
        with monkeypatch.context() as short:
            short.setattr(labs_watch, "read_labs", refused)
            write(tmp_path, entry(at))
            assert watch.look() is None
            with pytest.raises(type(why), match="Too many"):
                watch.look()
            assert [watch.look(), watch.look()] == [None, None], "said once"
        assert names(watch.look()) == [at]


def _longer(file: Path) -> None:
    file.write_text(entry(ONE, weight=22.0))


def _another(file: Path) -> None:
    write(file.parent, entry(ONE, weight=2.0))


def _later(file: Path) -> None:
    file.write_text(entry(ONE, weight=2.0))
    os.utime(file, ns=(9, 9))


@pytest.mark.parametrize("change", [_longer, _another, _later])
def test_a_change_is_seen_by_time_length_or_place_alone(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    file = tmp_path / "labs.toml"
    write(tmp_path, entry(ONE, weight=1.0))
    os.utime(file, ns=(5, 5))
    watch = LabsWatch(tmp_path)
    change(file)
    if change is not _later:
        os.utime(file, ns=(5, 5))
    assert watch.look() is None
    found = watch.look()
    assert found is not None
    assert found.labs[0].weight > 1.0


def test_a_key_of_the_command_line_holds_whatever_the_file_says(tmp_path: Path) -> None:
    key = "did:key:z6Mk" + 44 * "1"
    watch = LabsWatch(tmp_path, [TWO], {TWO: key})
    write(tmp_path, entry(ONE))
    watch.look()
    found = watch.look()
    assert found is not None
    assert [each.key for each in found.labs] == [None, key]


def test_parts_of_a_machine_are_at_most_the_whole_and_no_two_share_a_folder_or_a_port(
    tmp_path: Path,
) -> None:
    whole = NodeSettings(
        lab_url="",
        home=tmp_path,
        mirrors=("https://m",),
        serve_blobs=("127.0.0.1", 8441),
        max_memory_bytes=40 * 2**30,
    )
    served = (Served(at=ONE, mirrors=("https://own", "https://m")), Served(at=TWO))
    labs = Labs(labs=served)
    parts = parts_of(labs, whole)
    made = [settings_for(whole, name, part) for name, part in parts.items()]
    assert [each.lab_url for each in made] == [ONE, TWO]
    assert [each.mirrors for each in made] == [("https://own", "https://m"), ("https://m",)]
    assert [each.serve_blobs for each in made] == [("127.0.0.1", 8441), ("127.0.0.1", 8442)]
    assert len({each.home for each in made}) == 2
    for name in (
        "serve_rate",
        "max_memory_bytes",
        "lasting_bytes",
        "cache_bytes",
        "max_scratch_bytes",
    ):
        shares = [getattr(each, name) for each in made]
        assert shares == [getattr(whole, name) // 2] * 2, name
    free = NodeSettings(lab_url="", home=tmp_path, serve_blobs=("127.0.0.1", 0))
    assert {each.place for each in parts_of(labs, free).values()} == {("127.0.0.1", 0)}
    assert {each.place for each in parts_of(labs, NodeSettings(lab_url="", home=tmp_path)).values()} == {None}  # fmt: skip
    small = NodeSettings(lab_url="", home=tmp_path, max_memory_bytes=MIN_MEMORY_BYTES)
    assert settings_for(small, ONE, parts[ONE]).max_memory_bytes == MIN_MEMORY_BYTES
    heavier = Labs(labs=(Served(at=ONE, weight=9.0, mirrors=served[0].mirrors), Served(at=TWO)))
    assert parts_of(heavier, whole) == parts, "weights and rules change no part"
    keyed = Labs(labs=(served[0], Served(at=TWO, key="did:key:z6Mk" + 44 * "1")))
    assert [parts_of(keyed, whole)[each] == parts[each] for each in (ONE, TWO)] == [True, False]
    assert parts_of(Labs(labs=served[:1]), whole)[ONE] != parts[ONE], "alone it has more"


def test_a_labs_folder_is_its_own_and_says_whose_it_is() -> None:
    odd = "http://-_%-"
    for name, begins in ((ONE, "one.example-"), (f"{ONE},{TWO}", "one.example-"), (odd, "lab-")):
        assert folder_of(name).startswith(begins)
    assert len({folder_of(each) for each in (ONE, TWO, f"{ONE},{TWO}", f"{ONE}/a", odd)}) == 5
    assert len(folder_of(f"http://{'a' * 300}")) == 48 + 9


def test_what_changes_is_said_by_lab() -> None:
    one, both, two = (
        Labs(labs=tuple(Served(at=each) for each in given)) for given in ([ONE], [ONE, TWO], [TWO])
    )
    assert change_words(one, both) == f"{TWO} is served, too"
    assert change_words(both, one) == f"{TWO} is left when its lease is done"
    assert change_words(one, two) == f"{ONE} is left when its lease is done; {TWO} is served, too"
    assert change_words(one, one) == "the same labs are served, as it says now"
