"""What the bench commands share: what is given replaces the plan's own, and nothing else does."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.cli.benches import chosen, out_folder


@dataclass(frozen=True)
class _Plan:
    seeds: tuple[int, ...] = (0, 1, 2)
    updates: int = 80
    target: float = 0.9
    ages: tuple[int, ...] = (0, 4)


def test_only_what_was_given_replaces_what_the_plan_says() -> None:
    names = ("updates", "target", "ages")
    nothing = {"seeds": None, "updates": None, "target": None, "ages": ()}
    assert replace(_Plan(), **chosen(_Plan(), nothing, *names)) == _Plan()
    some = {"seeds": 2, "updates": 5, "target": 0.0, "ages": (8,)}
    assert replace(_Plan(), **chosen(_Plan(), some, *names)) == _Plan((0, 1), 5, 0.0, (8,))


def test_a_measurement_has_a_folder_of_its_own_unless_one_was_named() -> None:
    assert out_folder(Path("here"), "parity") == Path("here")
    assert str(out_folder(None, "parity")).startswith("runs/parity-20")


MEASURING = {
    "lab": "lab.Pressing.measure",
    "ledger": "ledger.Bench.measure",
    "overhead": "overhead.Expense.measure",
    "peers": "peers.Meeting.measure",
    "real": "real.RealBench.measure",
    "staleness": "staleness.measure",
}


@pytest.mark.parametrize("ends", [KeyboardInterrupt(), SystemExit(143)], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("name", MEASURING)
def test_whoever_is_stopped_prints_what_there_is_and_says_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, ends: BaseException
) -> None:
    """Also before the first step has ended."""

    def stopped(*_: Any, **__: Any) -> None:
        raise ends

    monkeypatch.setattr(f"archipel.bench.{MEASURING[name]}", stopped)
    monkeypatch.setattr("archipel.bench.peers_setup.peer_python", lambda venv: venv)
    monkeypatch.setattr("archipel.cli.demo_real.model_directory", lambda *_: tmp_path)
    out = str(tmp_path / "out")
    for words in ([], ["--json"]):
        done = CliRunner().invoke(command, ["bench", name, "--quick", "--out", out, *words])
        assert done.exit_code != 0
        assert done.stdout.strip()
        if words:
            json.loads(done.stdout)
        assert f"the same command with --out {out} goes on" in done.stderr
