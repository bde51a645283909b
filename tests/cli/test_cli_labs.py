"""`archipel labs` and `archipel lab card`: what is set, taken in, shown, asked and handed on."""

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from archipel.bench.site import Site
from archipel.cli.agents import agent_options
from archipel.cli.archipel import command
from archipel.cli.doors import LAB, LabUrl, Mendable, named_labs
from archipel.cli.labs_live import Live, _compare, look, read_witnesses
from archipel.directory.card import Card, read_card, signed_card
from archipel.directory.lines import read_lines, to_lines
from archipel.identity import Identity
from archipel.ledger.cosignature import cosigned, witness_key
from archipel.ledger.tree_head import sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.node.exchange import authorities
from archipel.records.lab_card import LabCard
from labcards import head, lab_identity
from live import live
from terminal import environment
from world import World

DAY_MS = 86_400_000


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path))
    return tmp_path


def say(*words: str) -> Result:
    return CliRunner().invoke(command, words)


def told(*words: str) -> object:
    found = say(*words)
    assert found.exception is None, (found.output, found.exception)
    return json.loads(found.stdout)


def fresh(identity: Identity, number: int, *addresses: str, **said: object) -> Card:
    """In force now, by this machine's clock."""
    now_ms = int(time.time() * 1000)
    times = {"issued_ms": now_ms, "until_ms": now_ms + DAY_MS, "addresses": addresses}
    named = {"lab": identity.did, "number": number, "origin": lab_key(identity.did).name}
    return signed_card(identity, LabCard(**(named | times | said)))  # type: ignore[arg-type]  # any of its fields


def test_a_card_is_set_shown_written_and_withdrawn(home: Path) -> None:
    assert isinstance(say("lab", "card").exception, Mendable), "nothing is set"
    own = Identity.load_or_create(_lab(home) / "lab.key")
    assert isinstance(say("lab", "card", "--set", "purpose=x").exception, Mendable)
    out = home / "card.jsonl"
    said = told("lab", "card", "--set", "address=https://lab.example/", "--set", "purpose=schools",
                "--set", "mirror=https://m.example", "--out", str(out), "--json")  # fmt: skip
    assert isinstance(said, dict)
    assert (said["lab"], said["addresses"]) == (own.did, ["https://lab.example"])
    assert read_lines(out.read_bytes()).cards[0].said.purpose == "schools"
    assert told("lab", "card", "--json") == said
    later = told("lab", "card", "--set", "purpose=", "--set", "licence=MIT", "--json")
    assert isinstance(later, dict)
    assert later["number"] > said["number"]
    assert ("purpose" in later, later["licence"], later["mirrors"]) == (
        False,
        "MIT",
        ["https://m.example"],
    )
    assert "withdrawn" in say("lab", "card", "--withdraw").output
    for wrong in ("nonsense", "colour=red"):
        assert say("lab", "card", "--set", wrong).exit_code == 2
    for wrong in (
        "address=http://lab.example",
        "days=1000",
        "witness=k w",
        "witness=w.example",
        "days=many",
    ):
        assert isinstance(say("lab", "card", "--set", wrong).exception, Mendable)


def _lab(home: Path) -> Path:
    (home / "lab").mkdir(mode=0o700)
    return home / "lab"


def test_cards_are_taken_in_shown_forgotten_and_exported(home: Path) -> None:
    one, other = lab_identity("one"), lab_identity("other")
    file, out = home / "given.jsonl", home / "out.jsonl"
    sealed = [fresh(each, 1, "https://a.example", purpose="a").sealed for each in (one,)]
    file.write_bytes(to_lines([*sealed, fresh(other, 1, "https://b.example").sealed, b"nonsense"]))
    assert isinstance(say("labs").exception, Mendable), "none is known"
    assert told("labs", "add", str(file), "--json")["refused"] == 1  # type: ignore[index, call-overload]  # of JSON
    rows = told("labs", "--json")
    assert isinstance(rows, list)
    assert {row["lab"] for row in rows} == {one.did, other.did}
    shown = say("labs").output
    assert "https://b.example" in shown
    assert say("labs", "forget", one.did).exit_code == 0
    assert {row["lab"] for row in told("labs", "--directory", str(file), "--json")} == {other.did}  # type: ignore[attr-defined]  # of JSON
    assert say("labs", "export", str(out)).exit_code == 0
    assert [each.said.lab for each in read_lines(out.read_bytes()).cards] == [other.did]
    assert isinstance(say("labs", "show", one.did).exception, Mendable)
    assert say("labs", "--json", "show", one.did).exit_code == 2
    assert isinstance(say("labs", "--directory", str(home / "none")).exception, Mendable)
    assert say("labs", "forget", other.did).exit_code == 0
    only = str(say("labs", "--directory", str(file)).exception)
    assert ("2 labs were forgotten by hand" in only, "labs add SOURCE" in only) == (True, True)


def test_a_lab_is_named_by_its_key_wherever_an_address_is_asked_for(home: Path) -> None:
    import click

    one = lab_identity("one")
    file = home / "given.jsonl"
    file.write_bytes(to_lines([fresh(one, 1, "https://a.example", "https://b.example").sealed]))
    assert say("labs", "add", str(file)).exit_code == 0

    @click.command()
    @agent_options
    def join(lab_url: str, lab_key: str | None, **_: object) -> None:
        click.echo(f"{lab_url} {lab_key}")

    @click.command()
    @LAB
    def ask(lab_url: str) -> None:
        click.echo(lab_url)

    @click.command()
    @click.option("--lab", "lab_urls", multiple=True, type=LabUrl())
    def several(lab_urls: tuple[str, ...]) -> None:
        click.echo(" ".join(f"{each} {named_labs().get(each)}" for each in lab_urls))

    both = "https://a.example,https://b.example"
    shown = CliRunner().invoke(several, ["--lab", one.did, "--lab", "https://c.example/"])
    assert shown.output == f"{both} {one.did} https://c.example None\n"
    assert CliRunner().invoke(join, [one.did]).output == f"{both} {one.did}\n"
    assert CliRunner().invoke(join, [both]).output == f"{both} None\n"
    given = CliRunner().invoke(join, [one.did, "--lab-key", lab_identity("x").did])
    assert given.output == f"{both} {lab_identity('x').did}\n", "what is said outright counts"
    unit = say("node", "service", one.did, "--duty", "0.5").output
    assert f'"join" "{both}" "--duty"' in unit
    assert f'"--lab-key" "{one.did}"' in unit, "a unit outlives the card"
    assert CliRunner().invoke(ask, ["--lab", one.did]).output == f"{both}\n"
    unknown = CliRunner().invoke(ask, ["--lab", lab_identity("other").did])
    assert isinstance(unknown.exception, Mendable)
    assert CliRunner().invoke(ask, ["--lab", "did:key:z6MkNonsense"]).exit_code == 2


def test_what_a_lab_answers_is_its_own_and_one_that_is_dead_delays_nobody() -> None:
    world = World()
    world.open_run()

    async def story() -> None:
        async with live(world) as url:
            own, other = world.lab.identity, lab_identity("other")
            cards = {
                "own": fresh(own, 1, url),
                "another's address": fresh(other, 1, url),
                "dead": fresh(other, 1, "http://127.0.0.1:1"),
            }
            heard: list[int] = []
            found = await look(cards, authorities(), heard.append)
        assert sorted(heard) == [1, 2, 3]
        mine = found["own"]
        assert (mine.is_reached, mine.num_runs) == (True, 1)
        assert "its newest head" in (mine.problem or ""), "of a world, under another name"
        assert [each.view.programme for each in mine.runs] == ["rl"]
        assert not found["dead"].is_reached
        assert "another lab answers there" in (found["another's address"].problem or "")

    asyncio.run(story())
    world.close()


@pytest.mark.parametrize(
    ("before", "now", "problem"),
    [(3, 3, None), (3, 4, None), (0, 1, None), (4, 3, "went back"), (-3, 3, "forks")],
)
def test_a_head_that_contradicts_the_card_is_told(
    before: int, now: int, problem: str | None
) -> None:
    one = lab_identity("one")
    origin = lab_key(one.did).name
    earlier = sign_tree_head(one, origin, abs(before), bytes([before < 0]) * 32).note.decode()
    shown = fresh(one, 1, "https://a.example", head=earlier if before else None)
    live = Live(head=shown.head)
    _compare(shown, live, head("one", now).encode())
    assert live.head is not None
    assert live.head.size == now
    assert (live.problem is None) if problem is None else problem in (live.problem or "")


def test_a_witness_that_a_lab_names_counts_by_its_signature_under_the_labs_own_head() -> None:
    sworn, shown = lab_identity("w"), fresh(lab_identity("one"), 1, "https://a.example")
    key = witness_key("w", sworn.public_key).to_text()
    claimed = {"size": 10**9, "at_s": 10**9}

    def signed(note: str, at_s: int, by: Identity = sworn) -> dict[str, Any]:
        return {
            "key": key,
            **claimed,
            "note": note + cosigned(note.partition("\n\n")[0] + "\n", "w", by, at_s),
        }

    told = [signed(head("one", 3), 77), signed(head("one", 5), 78), signed(head("other", 9), 79),
            signed(head("one", 8), 80, lab_identity("x")), {"key": "none", "note": "none", **claimed}]  # fmt: skip
    assert read_witnesses(json.dumps(told).encode(), shown) == {key: (5, 78)}


@pytest.mark.slow
def test_three_labs_learn_of_each_other_from_one_address_and_one_that_dies_is_shown(
    tmp_path: Path,
) -> None:
    sites = {word: Site(tmp_path / word, environment()) for word in "abc"}
    urls: dict[str, str] = {}
    try:
        for word, site in sites.items():
            know = ["--know", urls["a"]] if urls else []
            options = ["--know-every", "1", *know]
            url = site.start_lab(options=options)
            urls[word] = url
            assert say("lab", "card", "--home", str(site.home("lab")), "--set", f"address={url}",
                       "--set", f"purpose={word}").exit_code == 0  # fmt: skip
        dids = {word: read_card((site.home("lab") / "card.json").read_bytes()).said.lab
                for word, site in sites.items()}  # fmt: skip

        def known(word: str) -> set[str]:
            shutil.rmtree(tmp_path / "labs", ignore_errors=True)
            found = say("labs", "--directory", urls[word], "--json")
            return (
                {row["lab"] for row in json.loads(found.stdout)} if found.exit_code == 0 else set()
            )

        for word, site in sites.items():
            site.wait_until(
                lambda word=word: known(word) == set(dids.values()), f"{word} to know all", 240
            )  # type: ignore[misc]  # bound now
        sites["c"].kill("lab")
        rows = {row["lab"]: row for row in told("labs", "--live", "--json")}  # type: ignore[attr-defined]  # of JSON
        answered = {word: rows[did]["live"]["reachable"] for word, did in dids.items()}
        assert answered == {"a": True, "b": True, "c": False}
        assert rows[dids["a"]]["live"]["entries"] >= 1
        page = sites["a"].get("/pages/labs.json")
        assert dids["b"] in json.dumps(page)
    finally:
        for site in sites.values():
            site.close()
