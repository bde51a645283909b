"""`archipel serve` as it is typed: in front, detached, listed and stopped; what it cannot do is one sentence."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from archipel import source_environment
from archipel.cli.archipel import command
from archipel.cli.serve_open import reached_at
from serve.served_models import tiny_model

pytestmark = pytest.mark.slow
LIMIT_S = 60
Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    tiny_model(folder / "tiny")
    return folder


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.defpath, "HOME": str(home), **source_environment()}


def words(*said: object) -> list[str]:
    return [sys.executable, "-m", "archipel.cli.archipel", *map(str, said)]


@pytest.fixture
def call(home: Path) -> Call:
    def called(*said: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words(*said), env=environment(home), capture_output=True, text=True, timeout=LIMIT_S, cwd=home, check=False
        )  # fmt: skip

    return called


def test_a_detached_server_is_there_when_the_command_ends_and_gone_when_it_is_stopped(
    home: Path, call: Call
) -> None:
    begun = call("serve", "tiny", "--port", 0, "--threads", 1, "--detach")
    assert begun.returncode == 0, begun.stderr
    found = re.search(r"at (http://\S+), detached \(process (\d+), log (\S+)\)", begun.stdout)
    assert found is not None
    address, log = found[1], Path(found[3])
    secret = "a secret word"
    body = {"model": "tiny", "prompt": secret, "max_tokens": 3}
    assert httpx.post(f"{address}/v1/completions", json=body, trust_env=False).status_code == 200
    (row,) = json.loads(call("serve", "list", "--json").stdout)
    assert (row["name"], row["address"], row["pid"]) == ("tiny", address, int(found[2]))
    assert row["answers"]
    assert row["running"] == 0
    assert address in call("serve", "list").stdout
    stopped = call("serve", "stop", "tiny")
    assert re.search(r"tiny at \S+ \(process \d+\): ended after", stopped.stdout)
    assert json.loads(call("serve", "list", "--json").stdout) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health", trust_env=False)
    assert log.stat().st_mode & 0o777 == 0o600
    assert secret not in log.read_text()


def test_a_detached_server_that_cannot_begin_says_why(home: Path, call: Call) -> None:
    (home / "none").mkdir(exist_ok=True)
    said = call("serve", "none", "--detach")
    assert said.returncode == 1
    assert "none has no config.json" in said.stderr
    assert said.stderr.count("\n") == 1


def test_users_of_a_file_of_keys_each_have_one_and_none_is_shown(home: Path, call: Call) -> None:
    keys = home / "keys"
    keys.write_text("ann sk-0123456789abcdef\nbob sk-fedcba9876543210\n")
    keys.chmod(0o644)
    assert "chmod 600" in call("serve", "tiny", "--keys", "keys").stderr
    keys.chmod(0o600)
    begun = call("serve", "tiny", "--port", 0, "--host", "0.0.0.0", "--keys", "keys", "--detach")
    found = re.search(r"at (http://\S+),", begun.stdout)
    assert found is not None
    assert "0.0.0.0" not in found[1]
    assert "sk-" not in begun.stdout
    asked = f"{found[1]}/v1/models"
    assert httpx.get(asked, trust_env=False).status_code == 401
    for key in ("sk-0123456789abcdef", "sk-fedcba9876543210"):
        headers = {"authorization": f"Bearer {key}"}
        assert httpx.get(asked, headers=headers, trust_env=False).status_code == 200
    (row,) = json.loads(call("serve", "list", "--json").stdout)
    assert row["answers"]
    assert call("serve", "stop", "--all").returncode == 0


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_either_signal_ends_it_in_good_order(home: Path, call: Call, sign: signal.Signals) -> None:
    with subprocess.Popen(
        words("serve", "tiny", "--port", 0), env=environment(home), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd=home,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert " at http://127.0.0.1:" in process.stdout.readline()
        assert len(json.loads(call("serve", "list", "--json").stdout)) == 1
        process.send_signal(sign)
        assert process.wait(LIMIT_S) == 0
        assert process.stderr.read() == "stopped\n"
    assert json.loads(call("serve", "list", "--json").stdout) == []


LONG = {
    "model": "tiny",
    "prompt": "a",
    "max_tokens": 500,
    "n": 60,
    "stream": True,
    "temperature": 2,
}


def test_a_second_signal_ends_it_in_the_middle_of_an_answer(home: Path, call: Call) -> None:
    with subprocess.Popen(
        words("serve", "tiny", "--port", 0, "--threads", 1), env=environment(home), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd=home,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        found = re.search(r"at (http://\S+) ", process.stdout.readline())
        assert found is not None
        url = f"{found[1]}/v1/completions"
        with httpx.stream("POST", url, json=LONG, trust_env=False, timeout=LIMIT_S) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGINT)
            assert "1 under way have 30 s" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT_S / 6) == 130
    assert json.loads(call("serve", "list", "--json").stdout) == []


def test_one_that_does_not_end_in_time_is_killed(call: Call) -> None:
    begun = call("serve", "tiny", "--port", 0, "--threads", 1, "--detach")
    found = re.search(r"at (http://\S+),", begun.stdout)
    assert found is not None
    url = f"{found[1]}/v1/completions"
    with httpx.stream("POST", url, json=LONG, trust_env=False, timeout=LIMIT_S) as answer:
        lines = answer.iter_lines()
        next(lines)
        (row,) = json.loads(call("serve", "stop", "tiny", "--within", 0, "--json").stdout)
    assert row["killed"]
    assert json.loads(call("serve", "list", "--json").stdout) == []


def test_what_is_not_there_is_not_stopped(call: Call) -> None:
    said = call("serve", "stop", "nobody")
    assert said.returncode == 1
    assert said.stderr.startswith("archipel: no server 'nobody' of yours runs")
    assert call("serve", "stop").returncode == 2
    assert call("serve", "stop", "x", "--all").returncode == 2


def test_a_served_model_is_talked_to(call: Call) -> None:
    begun = call("serve", "tiny", "--port", 0, "--threads", 1, "--detach")
    found = re.search(r"at (http://\S+),", begun.stdout)
    assert found is not None
    try:
        said = call("chat", "--url", found[1], "--prompt", "hi", "--max-new-tokens", 5)
        assert said.returncode == 0, said.stderr
        again = call("chat", "--url", found[1], "--prompt", "hi", "--max-new-tokens", 5)
        assert again.stdout == said.stdout, "greedy"
        assert "--max-new-tokens asks for more" in said.stderr, "five are no end"
        whole = call("chat", "--url", found[1], "--prompt", "hi")
        assert whole.returncode == 0, whole.stderr
        assert whole.stdout.startswith(said.stdout.rstrip("\n")), "the server says how long"
    finally:
        call("serve", "stop", "--all")
    gone = call("chat", "--url", found[1], "--prompt", "hi")
    assert gone.returncode == 1
    assert "does not answer" in gone.stderr


def test_a_first_word_that_is_no_command_is_a_model(home: Path) -> None:
    for shown, expected in (("list", "Servers of yours"), ("stop", "End a server")):
        assert expected in CliRunner().invoke(command, ["serve", shown, "--help"]).output
    page = CliRunner().invoke(command, ["serve", "--help"]).output
    assert "--max-cache-gb" in page
    assert "serve stop" in page
    assert "'nowhere' does not exist" in CliRunner().invoke(command, ["serve", "nowhere"]).output


def test_an_address_for_clients_is_one_that_they_can_use() -> None:
    assert reached_at("127.0.0.1") == "127.0.0.1"
    assert reached_at("::1") == "[::1]"
    assert reached_at("0.0.0.0") not in ("0.0.0.0", "")
    assert reached_at("::") not in ("[::]", "[]")
