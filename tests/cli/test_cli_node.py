"""`archipel node`: status with and without a lab, the service file, and what a real session shows."""

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.cli.node_service import quoted, unit_of
from archipel.cli.node_status import _heard
from archipel.node.earnings import Earnings, accounts
from archipel.node.home import alone_in
from archipel.node.small_files import write_json
from archipel.node.totals import Totals
from archipel.records.statements import NodeJoined
from live import live
from people import envelope, identity
from specimens import CAPABILITIES
from terminal import Terminal, program
from world import World

NODE = identity("node").did


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "lab", ledger_on_disk=False)
    yield made
    made.close()


def _earned(home: Path, url: str, lab: str, before_micro: int | None = 1_500_000) -> None:
    totals = Totals()
    totals.before_micro = before_micro
    earnings = Earnings(home, NODE, url)
    earnings.joined(lab, totals)
    totals.count("accepted")
    totals.count("lost", "run.3", "time is up")
    totals.credit_micro, totals.groups, totals.tokens, totals.busy_s = 250_000, 8, 99, 7200.0
    earnings.save(totals)


def _status(home: Path, *options: str) -> str:
    arguments = ["node", "status", "--home", str(home), *options]
    shown = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert shown.exit_code == 0
    return shown.output


def test_status_offline_says_what_was_last_heard(tmp_path: Path) -> None:
    assert "it never joined a lab" in _status(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with alone_in(tmp_path):
        beginning = _status(tmp_path, "--offline")
    assert "no work of it was taken, returned or lost" in beginning, "it joins now"
    assert "never joined" not in beginning
    _earned(tmp_path, "http://127.0.0.1:9", "did:key:zLab")
    text = _status(tmp_path, "--offline")
    assert "it is not money" in text, "what a credit is for is said where it is shown"
    assert "no node runs here now" in text
    assert "lab did:key:zLab at http://127.0.0.1:9" in text
    assert "balance 1.750000 credits, as of 20" in text
    assert "0.250000 credits · 1 accepted, 1 lost · 8 groups, 99 tokens in 2 h 0 min" in text
    with alone_in(tmp_path):
        assert "a node runs here now" in _status(tmp_path, "--offline", "--days", "0")
    told = json.loads(_status(tmp_path, "--offline", "--json"))
    (lab,) = told["labs"]
    assert (lab["balance_micro"], lab["counted"]["credit_micro"]) == (1_750_000, 250_000)
    assert told["running"] is False


def test_status_without_an_answer_says_so_and_keeps_the_last_balance(tmp_path: Path) -> None:
    _earned(tmp_path, "http://127.0.0.1:9", "did:key:zLab")
    _earned(tmp_path, "http://127.0.0.1:9", "did:key:zOther", before_micro=None)
    text = _status(tmp_path)
    assert text.count("no answer now: http://127.0.0.1:9: connection refused") == 2
    assert "balance 1.750000 credits, as of" in text
    assert "balance unknown" in text


def test_status_asks_each_lab_and_believes_no_other_at_its_address(
    world: World, tmp_path: Path
) -> None:
    world.started()

    async def story() -> None:
        async with live(world) as url:

            def where() -> dict[str, tuple[str, str]]:
                return {each.lab: (each.lab, each.url) for each in accounts(tmp_path)}

            _earned(tmp_path, url, world.state.lab)
            _earned(tmp_path, url, "did:key:zOther")
            heard = await _heard(accounts(tmp_path), where())
            assert "another lab answers" in heard["did:key:zOther"]["no_answer"]
            assert "not-found" in heard[world.state.lab]["no_answer"]
            joined = world.statement(identity("node"), NodeJoined, capabilities=CAPABILITIES)
            await world.lab.submit(envelope(identity("node"), joined))
            heard = await _heard(accounts(tmp_path), where())
            assert heard[world.state.lab]["balance_micro"] == 0

    world.await_(story())


def test_status_names_the_lab_that_is_followed_and_asks_it_instead(tmp_path: Path) -> None:
    """As `Successors` keeps it, in a home of one lab and in one of several."""
    gone, there, old, new = (
        "http://127.0.0.1:9",
        "http://127.0.0.1:7",
        "did:key:zOld",
        "did:key:zNew",
    )
    kept = {"lab": new, "earlier": [[old, []]], "turned": there}
    for folder in (".", "serving/one"):
        home = tmp_path / folder.replace("/", "-")
        _earned(home, gone, old)
        (home / folder).mkdir(parents=True, exist_ok=True)
        write_json(home / folder / "successors.json", {gone: kept, "http://b": {"lab": "x"}})
        text = _status(home)
        assert f"continued by {new} at {there}, for which this node works now" in text
        assert f"no answer now: {there}: " in text
        (lab,) = json.loads(_status(home, "--offline", "--json"))["labs"]
        assert lab["followed"] == {"lab": new, "url": there}
        write_json(home / folder / "successors.json", {gone: kept | {"turned": None}})
        assert "continued" not in _status(home, "--offline")


def test_a_damaged_account_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "labs").mkdir()
    (tmp_path / "labs" / "z.json").write_text("")
    shown = CliRunner().invoke(command, ["node", "status", "--home", str(tmp_path)])
    assert "is damaged" in str(shown.exception)


def _service(*words: str) -> tuple[int, str]:
    shown = CliRunner().invoke(command, ["node", "service", *words])
    return shown.exit_code, shown.output


def test_the_service_joins_with_the_options_given_and_a_home_of_its_own(tmp_path: Path) -> None:
    home = tmp_path / 'my "home" 100%'
    code, unit = _service("http://lab:8440/", "--duty", "0.5", "--home", str(home))
    assert code == 0
    assert not home.exists()
    (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    words = shlex.split(line.removeprefix("ExecStart=").replace("%%", "%"))
    assert words[:3] == [sys.executable, "-m", "archipel.cli.archipel"]
    assert words[3:8] == ["node", "join", "http://lab:8440", "--duty", "0.5"]
    assert words[8:] == ["--home", str(home)], "the home is said once"
    for given in (("--home", "x", f"--home={home}"), (f"--home={home}", "--home", str(home))):
        again = _service("http://lab:8440/", "--duty", "0.5", *given)
        assert again == (0, unit), "the last one counts, in either form"
    for setting in ("KillMode=mixed", "Restart=on-failure", "WantedBy=default.target"):
        assert setting in unit.splitlines()


def test_without_a_lab_the_service_serves_those_that_are_named_or_stand_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path))
    given = ("--lab", "https://a.example,https://b.example", "--lab", "https://c.example")
    code, unit = _service(*given, "--home", "x", "--duty", "0.5")
    assert code == 0
    (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert shlex.split(line)[3:] == [
        *("node", "start", *given, "--duty", "0.5", "--home", str(Path("x").resolve())),
    ]
    assert "Description=Archipel node at several labs" in unit.splitlines()
    assert f'Environment="ARCHIPEL_HOME={tmp_path}"' in unit.splitlines(), "where cards lie"
    home = tmp_path / "node"
    assert "name one with --lab" in str(CliRunner().invoke(command, ["node", "service"]).exception)
    assert not home.exists()
    home.mkdir()
    (home / "labs.toml").write_text('[[labs]]\nat = "https://one.example"')
    code, unit = _service()
    assert (code, f'"node" "start" "--home" "{home}"' in unit) == (0, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lab:8440",), "did you mean http://lab:8440 ?"),
        (("http://lab", "--dutty", "0.5"), "No such option"),
        (("http://lab", "--only-at", "9-5"), "no span of a day"),
        (("--lab", "http://lab", "--give-up", "5"), "No such option"),
        (("--lab", "http://lab", "http://other"), "unexpected extra argument"),
        (("http://lab", "--install", "--name", "../x"), "expected letters"),
    ],
)
def test_what_node_join_would_refuse_the_service_refuses(words: tuple[str, ...], said: str) -> None:
    code, text = _service(*words)
    assert code == 2
    assert said in text


def test_installing_writes_the_unit_and_says_how_to_start_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    code, text = _service("http://lab:8440", "--install")
    assert code == 0
    unit = tmp_path / "systemd" / "user" / "archipel-node.service"
    assert str(unit) in text
    assert "systemctl --user enable --now archipel-node" in text
    assert unit.read_text() == _service("http://lab:8440")[1]


def test_words_of_a_unit_mean_what_they_say() -> None:
    assert quoted('a"b\\c%h') == '"a\\"b\\\\c%%h"'
    unit = unit_of("http://lab", ["join", "$HOME"], {"LD_LIBRARY_PATH": "/a $b"})
    assert '"$$HOME"' in unit
    assert 'Environment="LD_LIBRARY_PATH=/a $b"' in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="takes systemd-analyze")
@pytest.mark.parametrize(
    "words",
    [
        ("http://lab.example:8440",),
        ("https://[::1]:8440", "--only-at", "22:00-07:00", "--not-on-battery"),
        ("http://lab", "--home", '/tmp/a "b" 100% $HOME \\n'),
        ("--lab", "https://one.example", "--lab", "https://[::1]:8440,https://two.example"),
    ],
)
def test_systemd_finds_nothing_to_say_of_the_unit(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, text = _service(*words)
    assert code == 0
    unit = tmp_path / "archipel-node.service"
    unit.write_text(text)
    analyzed = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.defpath, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert (analyzed.returncode, analyzed.stdout + analyzed.stderr) == (0, "")


def _join(url: str, home: Path, pause_s: float) -> list[str]:
    words = [*program(pause_s), "node", "join", url, "--home", str(home)]
    return [*words, "--energy-price", "0.2"]


@pytest.mark.slow
def test_a_session_at_a_terminal_from_joining_to_the_second_ctrl_c(
    world: World, tmp_path: Path
) -> None:
    world.started(versions=2, groups_per_update=4, max_groups_per_lease=2)

    def session(url: str) -> str:
        with Terminal(_join(url, tmp_path / "node", 60.0), columns=80) as terminal:
            terminal.wait_for("is confined:")
            terminal.wait_for("joined lab")
            terminal.wait_for("s left")
            assert "1 group of version 0" in terminal.shown
            mark = len(terminal.shown)
            terminal.press_ctrl_c()
            terminal.wait_for("at most", mark)
            terminal.wait_for("Ctrl-C again", mark)
            assert terminal.process.poll() is None
            terminal.press_ctrl_c()
            assert terminal.ended() == 0
            return terminal.shown

    async def story() -> str:
        async with live(world) as url:
            return await asyncio.to_thread(session, url)

    shown = world.await_(story())
    assert "giving" in shown
    assert "1 returned" in shown
    assert "credits here, 0.000000 in all" in shown
    assert not world.state.leases
    assert "Traceback" not in shown


def test_an_engine_that_is_not_installed_is_said_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    arguments = ["node", "join", "http://127.0.0.1:9", "--engine", "vllm", "--home"]
    shown = CliRunner().invoke(command, [*arguments, str(tmp_path / "node")])
    assert "pip install -c constraints.txt -e '.[vllm]'" in str(shown.exception)
    assert not (tmp_path / "node").exists()


def test_a_rule_that_this_machine_cannot_check_is_said_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.node.pausing.Machine.on_battery", lambda self: None)
    arguments = ["node", "join", "http://127.0.0.1:9", "--not-on-battery", "--home"]
    shown = CliRunner().invoke(command, [*arguments, str(tmp_path / "node")])
    assert "does not tell whether it runs on battery" in str(shown.exception)
