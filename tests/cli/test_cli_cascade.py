"""`archipel serve calibrate`, `serve cascade`, `route train` and `serve router`, as they are typed."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from archipel import source_environment
from archipel.bench.cascade import Measurement, Plan, Size
from archipel.cli.archipel import command
from archipel.cli.recipes import find_recipe

LIMIT_S = 240
LITTLE = Plan(
    small=Size(16, 1, 5, 3e-3), large=Size(32, 1, 400, 5e-3), questions=3000, calibration=60,
    held_out=50, resamples=20,
)  # fmt: skip


def said(*words: str) -> str:
    found = CliRunner().invoke(command, [*words])
    assert found.exit_code != 0
    return found.output + str(found.exception)


def test_what_is_missing_or_twice_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    here = str(tmp_path)
    policy, questions = tmp_path / "p.json", tmp_path / "q.jsonl"
    for path in (policy, questions):
        path.write_text("")
    serve = ("serve", "cascade", "--policy", str(policy), f"small={here}")
    assert "where is the large model?" in said(*serve)
    assert "where is the large model?" in said(*serve, f"large={here}", "--large-at", "http://x")
    away = (*serve, "--large-at", "http://x/v1", "--large-name", "m")
    assert "say --allow-leaving" in said(*away)
    assert "needs it" in said(*away, "--allow-leaving", "--prove-offline")
    kept = (*away, "--allow-leaving")
    assert "for it to say" in said(*kept, "--deterministic")
    assert "is another server" in said(*kept, "--draft", here)
    (tmp_path / "key").write_text("sk-0123456789abcdef\n")
    (tmp_path / "key").chmod(0o644)
    keyed = (*away, "--allow-leaving", "--large-key-file", f"{here}/key")
    assert "chmod 600" in said(*keyed)
    assert "is no directory" in said(*serve, "large=/nowhere")
    assert "which is the small model?" in said("serve", "--cascade", f"large={here}", *serve[2:4])
    calibrate = ("serve", "calibrate", f"small={here}", f"large={here}", "--out", f"{here}/o")
    assert "either --questions or --recipe" in said(*calibrate)
    both = (*calibrate, "--questions", str(questions), "--keep", "0.5", "--ask-large", "0.5")
    assert "either --keep or --ask-large" in said(*both)
    assert "holds no question" in said(*calibrate, "--questions", str(questions))
    train = ("route", "train", here, "--out", f"{here}/r", "--examples", f"a={questions}")
    assert "one name" in said(*train, "--examples", f"a={questions}")
    assert "is not NAME=FILE" in said(*train[:-1], "nothing")
    router = ("serve", "router", here, "x", "--routes", str(policy))
    assert "expected NAME=DIR" in said(*router)
    for words in ((*serve, f"large={here}"), router):
        for asked_for, why in ((("--sign",), "one model said"), (("--exact", "w7a8"), "floating")):
            refused = said(*words, *asked_for)
            assert "not for several models behind one name" in refused
            assert why in " ".join(refused.split())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two models that differ, and questions of which the larger one knows some."""
    folder = tmp_path_factory.mktemp("cascade")
    Measurement(find_recipe("own-task"), LITTLE, folder, lambda text: None).measure()
    lines = (folder / "questions.jsonl").read_text().splitlines()
    (folder / "few.jsonl").write_text("\n".join(lines[:80]))
    for kind in ("sorted", "larger"):
        own = [line for line in lines if json.loads(line)["kind"] == kind]
        (folder / f"{kind}.jsonl").write_text("\n".join(own[:30]))
    return folder


def process(folder: Path, *words: str) -> "subprocess.Popen[str]":
    environment = {"PATH": os.defpath, "HOME": str(folder), **source_environment()}
    return subprocess.Popen(
        [sys.executable, "-m", "archipel.cli.archipel", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=folder,
    )  # fmt: skip


def ended(folder: Path, *words: str) -> str:
    with process(folder, *words) as one:
        output, _ = one.communicate(timeout=LIMIT_S)
        assert one.returncode == 0, output
        return output


@contextlib.contextmanager
def serving(folder: Path, told: list[str], *words: str) -> Iterator[str]:
    """Its address; what it says is added to `told` at its end."""
    with process(folder, "serve", *words, "--port", "0") as one:
        assert one.stdout is not None
        early: list[str] = []
        try:
            for line in iter(one.stdout.readline, ""):
                early.append(line)
                if found := re.search(r"at (http://\S+)", line):
                    yield found[1]
                    break
        finally:
            one.send_signal(signal.SIGINT)
            told.append("".join(early) + one.communicate(timeout=LIMIT_S)[0])


def asked(address: str, model: str, prompt: str) -> str:
    body = {"model": model, "prompt": prompt, "max_tokens": 20, "temperature": 0}
    found = httpx.post(f"{address}/v1/completions", json=body, timeout=LIMIT_S)
    assert found.status_code == 200, found.text
    return str(found.json()["choices"][0]["text"])


@pytest.mark.slow
def test_calibrating_goes_on_after_ctrl_c_and_what_it_wrote_serves(trained: Path) -> None:
    calibrate = (
        "serve", "calibrate", "small=small", "large=large", "--questions", "few.jsonl", "--out", "policy.json",
        "--max-new-tokens", "20", "--threads", "1",
    )  # fmt: skip
    partial, end = trained / "policy.json.partial", time.monotonic() + LIMIT_S
    with process(trained, *calibrate) as one:
        while not partial.exists() or partial.read_bytes().count(b"\n") < 5:
            assert time.monotonic() < end
            time.sleep(0.05)
        one.send_signal(signal.SIGINT)
        output, _ = one.communicate(timeout=LIMIT_S)
    assert "the same command goes on" in output
    assert one.returncode == 130
    kept = partial.read_bytes().splitlines()[:5]
    assert "80 questions" in ended(trained, *calibrate)
    assert not partial.exists()
    assert kept[1:]
    told: list[str] = []
    cascade = (
        "--cascade", "small=small", "large=large", "--policy", "policy.json", "--deterministic", "--draft", "prompt",
        "--weights", "int8",
    )  # fmt: skip
    with (
        serving(trained, told, *cascade) as address,
        serving(trained, [], "large", "--name", "big", "--weights", "int8") as large,
    ):
        expected = asked(large, "big", "sort dbca: ")
        always = asked(address, "cascade", "sort dbca: ")
        assert always in (expected, asked(address, "cascade", "sort dbca: "))
        counts = httpx.get(f"{address}/metrics").text
        assert "archipel_serve_cascade_asked 2.0" in counts
        away = (
            "cascade", "small=small", "--large-at", f"{large}/v1", "--large-name", "big",
            "--allow-leaving", "--policy", "policy.json", "--threshold", "1",
        )  # fmt: skip
        with serving(trained, told, *away) as other:
            refused = httpx.post(
                f"{other}/v1/completions",
                json={"model": "cascade", "prompt": "sort dbca: ", "max_tokens": 20},
                timeout=LIMIT_S,
            )
            # A model without a template takes no turns, and its own words about that come back.
            assert refused.status_code == 400
            assert "chat template" in refused.text
    assert "1 questions" in told[0]
    assert re.search(r"[1-9]\d* bytes in 1 questions left", told[0])
    assert "2 questions" in told[1]
    assert re.search("calibrated with the small model as (float32|bfloat16), now as int8", told[1])
    assert re.search(r"[1-9]\d* answers alike in any company", told[1])
    assert "0 bytes in 0 questions left" in told[1]


@pytest.mark.slow
def test_routes_that_were_trained_route(trained: Path) -> None:
    train = ("route", "train", "small", "--out", "routes.json")
    ended(trained, *train, "--examples", "sorted=sorted.jsonl")
    output = ended(trained, *train, "--examples", "larger=larger.jsonl", "--add-to", "routes.json")
    assert "sorted (30 examples), larger (30 examples)" in output
    told: list[str] = []
    router = (
        "router",
        "small",
        "sorted=large",
        "larger=small",
        "--routes",
        "routes.json",
        "--deterministic",
    )
    with (
        serving(trained, told, *router) as address,
        serving(trained, [], "large", "--name", "big") as large,
    ):
        assert asked(address, "router", "sort dbca: ") == asked(large, "big", "sort dbca: ")
        asked(address, "router", "~~~~~~~~~~~~~~~~")
    assert "2 questions: sorted 1, generalist 1" in told[0]
    assert "answers alike in any company" in told[0]
