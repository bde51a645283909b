"""The page, its pictures and the commands: everything is escaped, nothing is fetched, what ships is the default."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from archipel.cli.archipel import command
from archipel.observatory.folder import read, write
from archipel.observatory.manifest import Source
from archipel.observatory.page import page
from archipel.observatory.seeds import shipped
from archipel.observatory.snapshot import About, Snapshot
from observed import ABOUT, count, maker, model, snapshot

EVIL = "</script><img src=x onerror=alert(1)>\"'&{{7*7}}"


def ran(*words: str) -> Result:
    return CliRunner().invoke(command, ["observe", *words])


def hostile() -> Snapshot:
    source = Source(
        id="s",
        title=EVIL,
        url=f"javascript:{EVIL}",
        retrieved="2026-01-01",
        hand="read",
        licence=EVIL,
        note=EVIL,
    )
    someone = maker("a").model_copy(update={"name": f"a{EVIL}"})
    one = model("m").model_copy(update={"name": EVIL})
    return snapshot(someone, one, count("m", 1), about=About("x", "2026-06-01", 1, (source,)))


def test_what_strangers_say_never_becomes_markup() -> None:
    shown = page(hostile(), EVIL)
    assert "<script" not in shown
    assert "<img" not in shown
    assert "onerror=alert(1)&gt;" in shown.split("Sources")[1]
    assert 'href="javascript' not in shown
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", shown)[0]


@pytest.mark.slow
def test_the_page_is_the_same_again_and_fetches_nothing() -> None:
    small = snapshot(
        maker("a"), maker("b", "CN"), model("m"), model("n", ("b",)), count("m", 1), count("n", 2)
    )
    shown = page(small)
    assert shown == page(small)
    assert not re.findall(r"(?:src|srcset)=|<(?:script|link|iframe)|url\(http|@import", shown)
    assert "<svg" in shown
    assert small.digest in shown
    ids = re.findall(r'\bid="([^"]+)"', shown)
    assert len(ids) == len(set(ids))
    assert {each.partition("#")[2] for each in re.findall(r'href="(#[^"]+)"', shown)} <= set(ids)


def test_what_ships_is_looked_at_where_nothing_is_named_and_data_name_it() -> None:
    found = json.loads(ran("show", "lag/1", "--benchmark", "mmlu", "--json").output)
    assert found[0]["snapshot"] == read(shipped()[-1]).digest
    assert found[0]["value"] == pytest.approx(15.425, abs=0.01)
    listed = json.loads(ran("list", "--json").output)
    assert listed["digest"] == found[0]["snapshot"]
    assert "adoption_robust/1" in ran("list", "--measures").output
    assert "hhi/1" in ran("show").output


def test_check_tells_what_is_lacking_and_ends_with_one_only_when_asked() -> None:
    told = ran("check")
    assert told.exit_code == 0
    assert "4 agrees, 1 differs, 10 cannot" in told.output
    assert ran("check", "--strict").exit_code == 1
    assert {each["verdict"] for each in json.loads(ran("check", "--json").output)} == {
        "agrees",
        "differs",
        "cannot",
    }


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    for words, said in (
        (("show", "lga"), "did you mean lag/1"),
        (("show", "top_open", "--leaderboard", "x"), "there are arena_text"),
        (("show", "--at", str(tmp_path)), "has no snapshot.json"),
        (("diff", str(tmp_path), str(tmp_path)), "has no snapshot.json"),
        (
            ("add-releases", str(tmp_path), "--out", str(tmp_path / "new")),
            "is no release and holds 0",
        ),
    ):
        result = ran(*words)
        assert result.exit_code != 0
        assert said in f"{result.output}{result.exception}", words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_diff_and_pictures_come_from_folders(tmp_path: Path) -> None:
    write(snapshot(maker("a"), maker("b", "CN"), model("m"), count("m", 1)), tmp_path / "old")
    newer = snapshot(
        maker("a"),
        maker("b", "CN"),
        model("m"),
        model("n", ("b",)),
        count("m", 1),
        count("n", 3),
        about=ABOUT,
    )
    write(newer, tmp_path / "new")
    told = ran("diff", str(tmp_path / "old"), str(tmp_path / "new")).output.splitlines()
    assert "adoption/1 100.0% 75.0% CN: 75.0%" in [" ".join(line.split()) for line in told]
    out = tmp_path / "p.svg"
    assert ran("page", "--at", str(tmp_path / "new"), "--out", str(out)).exit_code == 0
    assert out.read_bytes().startswith(b"<?xml")
