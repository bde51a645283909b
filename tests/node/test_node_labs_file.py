"""Which labs a node serves: what the file may say, what it weighs, and what an operator pledges beside it."""

import re
import time
from pathlib import Path

import pytest

from archipel.node.labs_file import (
    MAX_FILE_BYTES,
    MAX_LABS,
    MIN_MEASURED_S,
    MOST_PAID,
    BadLabs,
    Labs,
    Paid,
    Served,
    Weighing,
    name_of,
    parse_labs,
    read_labs,
    weights_of,
)
from archipel.node.pledge_telling import untold
from archipel.node.pledged import (
    NotPledged,
    Pledged,
    floors_of,
    hours_of,
    keep,
    kept_pledges,
    names_of,
    withdraw,
)
from people import identity

ONE, TWO = "http://one.example", "http://two.example"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "serve-several-labs.md"
LATER_MS = int(time.time() * 1000) + 86_400_000


def test_the_file_on_the_page_is_one() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
    found = parse_labs(
        re.sub(r"did:key:z6Mko\.\.\.", "did:key:z6Mk" + 44 * "1", block).encode(), "page"
    )
    assert [each.weight for each in found.labs] == [3.0, 1.0]
    assert found.rules.price


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("labs = 3", "labs"),
        ('[[labs]]\nat = "http://a"\nwait = 1', "labs.0.wait"),
        ('[[labs]]\nat = "http://a"\nweight = 0', "labs.0.weight"),
        ('[[labs]]\nat = "http://a"\nweight = inf', "labs.0.weight"),
        ('[[labs]]\nat = "http://a"\nweight = "2"', "labs.0.weight"),
        ('[[labs]]\nat = "ftp://a"', "ftp"),
        ('[[labs]]\nat = "http://a"\n[[labs]]\nat = "http://b,http://A:80"', "twice"),
        ("[rules]\nprice = true", "labs"),
        ("[rules]\nprize = true", "rules.prize: unknown key; remove it or check its spelling"),
        ('[[labs]]\nat = "http://a"\nweight = "a"', "labs.0.weight: got 'a', expected a float"),
        ("x =", "no TOML"),
        (f"x = {'1' * 5000}", "no TOML.*4300 digits"),
    ],
)
def test_what_is_no_such_file_is_refused_by_the_key_that_is_wrong(text: str, said: str) -> None:
    with pytest.raises(BadLabs, match=said):
        parse_labs(text.encode(), "labs.toml")


def test_a_file_is_read_up_to_its_bound_and_without_words_everything_is_plain() -> None:
    text = f'[[labs]]\nat = "{ONE}"\n'.encode()
    full = text + b"#" * (MAX_FILE_BYTES - len(text))
    (lab,) = parse_labs(full, "labs.toml").labs
    with pytest.raises(BadLabs, match=f"holds {MAX_FILE_BYTES + 1} bytes"):
        parse_labs(full + b"#", "labs.toml")
    assert lab == Served(at=ONE, weight=1.0)
    assert (lab.key, lab.trusted, lab.runs, lab.purposes, lab.mirrors, lab.credit_worth) == (
        None, False, (), (), (), 0.0,
    )  # fmt: skip
    assert Weighing() == Weighing(untrusted=1.0, price=False, longest_minutes=60.0)
    assert not Weighing().price


@pytest.mark.parametrize(
    ("mirror", "said"),
    [("ftp://m", "mirrors of .*ftp"), ("http://m,http://n", "2 addresses; give one each")],
)
def test_a_mirror_of_a_lab_is_one_address(mirror: str, said: str) -> None:
    text = f'[[labs]]\nat = "{ONE}"\nmirrors = ["{mirror}"]'
    with pytest.raises(BadLabs, match=said):
        parse_labs(text.encode(), "labs.toml")


def test_as_many_labs_are_served_as_there_may_be_and_each_once(tmp_path: Path) -> None:
    many = [f"http://lab{number}.example" for number in range(MAX_LABS + 1)]
    assert [name_of(each) for each in read_labs(tmp_path, many[:-1]).labs] == many[:-1]
    with pytest.raises(BadLabs, match=f"{MAX_LABS + 1} labs; a node serves at most {MAX_LABS}"):
        read_labs(tmp_path, many)
    with pytest.raises(BadLabs, match="twice"):
        read_labs(tmp_path, [f"{ONE},{TWO}", TWO])


def test_of_a_longer_file_no_more_than_the_bound_is_read(tmp_path: Path) -> None:
    with (tmp_path / "labs.toml").open("wb") as file:
        file.truncate(4 * MAX_FILE_BYTES)
    with pytest.raises(BadLabs, match=f"holds {MAX_FILE_BYTES + 1} bytes or more"):
        read_labs(tmp_path)


def test_labs_of_a_command_line_are_served_beside_those_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(BadLabs, match="name one with --lab"):
        read_labs(tmp_path)
    (tmp_path / "labs.toml").write_text(f'[[labs]]\nat = "{ONE}"\nweight = 5')
    found = read_labs(tmp_path, [ONE, TWO])
    assert [(name_of(each), each.weight) for each in found.labs] == [(ONE, 5.0), (TWO, 1.0)]
    key = identity("lab").did
    one, two = read_labs(tmp_path, [ONE, TWO], {TWO: key}).labs
    assert (one.key, two.key) == (None, key), "whoever is named by a key must have it"


def test_what_a_lab_pays_counts_only_as_its_credit_is_worth_and_within_bounds() -> None:
    rules = Weighing(price=True, untrusted=0.5)
    served = (
        Served(at=ONE, credit_worth=1.0, trusted=True),
        Served(at=TWO, credit_worth=0.001, trusted=True),
        Served(at="http://three.example"),
    )
    paid = {each: Paid(10**6 * 3600, 3600.0) for each in (ONE, TWO, "http://three.example")}
    weights = weights_of(Labs(rules=rules, labs=served), paid)
    assert weights[ONE] == pytest.approx(2, rel=0.01)
    assert weights[TWO] == 1 / MOST_PAID
    assert weights["http://three.example"] == 0.5, "no worth said, no price counted"
    lies = paid | {ONE: Paid(10**18, 3600.0)}
    assert weights_of(Labs(rules=rules, labs=served), lies)[ONE] <= MOST_PAID
    unmeasured = weights_of(Labs(rules=rules, labs=served), {ONE: Paid(10**9, 1.0)})
    assert unmeasured[ONE] == unmeasured[TWO] == 1.0
    # An hour at ONE was worth three times one at TWO, half as much again as their mean.
    known = {ONE: Paid(3 * 10**6, MIN_MEASURED_S), TWO: Paid(10**9, MIN_MEASURED_S)}
    weights = weights_of(Labs(rules=rules, labs=served), known)
    assert (weights[ONE], weights[TWO]) == (1.5, 0.5)
    plain = weights_of(Labs(rules=Weighing(), labs=served), paid)
    assert set(plain.values()) == {1.0}, "prices count only where the operator says so"


def test_a_lab_takes_runs_by_name_and_by_purpose() -> None:
    both = Served(at=ONE, runs=("math-*", "logic"), purposes=("medicine",))
    assert both.takes("math-7", ["medicine", "weather"])
    assert not both.takes("math-7", ["weather"])
    assert not both.takes("chess", ["medicine"])
    assert Served(at=ONE).takes("anything", [])


def test_all_pledges_together_are_at_most_the_machine(tmp_path: Path) -> None:
    now_s = time.time()
    first = Pledged("1" * 16, lab="did:a", share=700_000, until_ms=LATER_MS)
    keep(tmp_path, first, now_s)
    with pytest.raises(NotPledged, match="withdraw another first"):
        keep(tmp_path, Pledged("2" * 16, purpose="medicine", hours=84, until_ms=LATER_MS), now_s)
    withdraw(tmp_path, first.name, now_s)
    second = Pledged("2" * 16, purpose="medicine", hours=84, until_ms=LATER_MS)
    keep(tmp_path, second, now_s)
    assert kept_pledges(tmp_path, now_s) == (second,)
    assert kept_pledges(tmp_path, LATER_MS / 1000) == ()
    with pytest.raises(NotPledged, match="holds here"):
        withdraw(tmp_path, first.name, now_s)
    assert floors_of([first, second]) == {first.name: 0.7, second.name: 0.0}
    assert hours_of([first, second]) == {second.name: 84.0}


def test_work_counts_for_pledges_to_its_lab_and_to_its_purposes() -> None:
    own = Pledged("1" * 16, lab="did:a", share=1)
    tag = Pledged("2" * 16, purpose="medicine", share=1)
    other = Pledged("3" * 16, lab="did:b", share=1, told=("did:b",))
    assert names_of([own, tag, other], "did:a", ONE, ["medicine"]) == [own.name, tag.name]
    assert names_of([own, tag, other], "", ONE, []) == []
    assert untold([own, tag, other], "did:a") == [own, tag]
    assert untold([own, tag, other], "did:b") == [tag]
