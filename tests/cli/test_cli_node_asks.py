"""One question about money, asked once, answered by Enter; nobody who cannot answer is asked."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.cli.node_asks import FILE
from archipel.node.small_files import read_json
from terminal import Terminal, program

ABSENT = "http://127.0.0.1:9"


def join(home: Path, *options: str) -> list[str]:
    return [*program(), "node", "join", ABSENT, "--home", str(home), *options]


@pytest.mark.slow
def test_the_question_is_asked_once_and_again_after_what_is_no_price(tmp_path: Path) -> None:
    home = tmp_path / "node"
    with Terminal(join(home), columns=200) as terminal:
        terminal.wait_for("USD per kWh:")
        terminal.type("much")
        terminal.wait_for("such as 0.28")
        terminal.type("0,21")
        terminal.wait_for("connection refused")
        terminal.press_ctrl_c()
        assert terminal.ended() == 0
    assert read_json(home / FILE) == {"usd_micro_per_kwh": 210_000}


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--energy-price", "-1", "0<=x<=100"),
        ("--energy-price", "nan", "not a number"),
        ("--region", "Europe!", "such as eu-north"),
        ("--lots", "0", "1<=x<=4096"),
        ("--ask", "0", "1e-06<=x"),
        ("--watts", "0", "1<=x"),
        ("--credit-usd", "0", "1e-06<=x"),
    ],
)
def test_absurd_prices_are_one_sentence(
    tmp_path: Path, option: str, value: str, words: str
) -> None:
    given = ["node", "join", ABSENT, "--home", str(tmp_path / "node"), option, value]
    said = CliRunner().invoke(command, given)
    assert said.exit_code == 2
    assert words in said.output
    assert not (tmp_path / "node" / "node.key").exists()
