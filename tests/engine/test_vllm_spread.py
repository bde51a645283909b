"""One model over several devices: refused where it cannot be, divided among engines, and ended with its node."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from archipel.cli.archipel import command
from archipel.cli.engines import spread_environment, spread_of
from archipel.engine.vllm_spread import MAX_FOLDER_BYTES, Host, why_not
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.node.home import setup_of
from archipel.node.settings import NodeSettings
from archipel.records.spread import ONE_DEVICE, Spread
from archipel.work.child import Child
from archipel.work.crew import Crew
from archipel.work.crew_devices import seeing, shares_of
from archipel.work.engines import make_engine, too_little_scratch
from archipel.work.kind import EngineChoice, MachineUnfit
from archipel.work.messages import Done, ProgressMessage, Ready, read_from_child, to_line
from engine.engine_models import lively_state, small_config
from engine.test_engine_vllm import PYTHON, ROOT, TRIAL_LIMIT_S, surroundings
from work import asked
from work import test_child as child

CONFIG = small_config("qwen3", num_heads=8, num_kv_heads=4, intermediate_size=96)
PROCESSOR = Host(devices=4, is_processor=True, has_ray=True, folder="/tmp")
CARDS = Host(devices=2, is_processor=False, has_ray=True, folder="/tmp")
TWO, OVER_RAY = Spread(devices=2), Spread(devices=2, by="ray")


def test_what_this_host_or_this_model_cannot_is_a_sentence_that_says_what_to_do() -> None:
    assert why_not(TWO, PROCESSOR, CONFIG) == ""
    assert why_not(TWO, CARDS, CONFIG) == ""
    assert why_not(OVER_RAY, CARDS, CONFIG) == ""
    wide = Spread(devices=16, by="ray")
    assert why_not(over(16), replace(CARDS, devices=16)) == "", "no model is known yet"
    assert "pip install ray" in why_not(OVER_RAY, replace(CARDS, has_ray=False), CONFIG)
    assert "expected --spread processes" in why_not(OVER_RAY, PROCESSOR, CONFIG)
    assert "as many accelerators, and this host has 2" in why_not(over(4), CARDS, CONFIG)
    assert "as many cores, and this host has 4" in why_not(over(8), PROCESSOR, CONFIG)
    assert "8 attention heads do not divide" in why_not(wide, CARDS, CONFIG)
    assert why_not(over(8), replace(CARDS, devices=8), CONFIG) == "", "heads are repeated"
    odd = replace(CONFIG, num_heads=12, num_kv_heads=4)
    assert "4 heads of keys and values" in why_not(Spread(devices=6, by="ray"), CARDS, odd)
    inner = replace(CONFIG, intermediate_size=97)
    assert "97 inner features" in why_not(TWO, CARDS, inner)
    long = replace(CARDS, folder="/" + "x" * MAX_FOLDER_BYTES)
    assert "a shorter --home" in why_not(TWO, long, CONFIG)
    nothing = Host(devices=0, is_processor=False, has_ray=False, folder=long.folder)
    assert why_not(ONE_DEVICE, nothing, CONFIG) == "", (
        "nothing is asked of a host where nothing is split"
    )


def over(count: int) -> Spread:
    return Spread(devices=count)


def choice_of(device: str, spread: Spread, engines: int = 1) -> EngineChoice:
    return EngineChoice("vllm", "bfloat16", device, engines, spread)


def test_engines_that_split_their_model_share_out_the_devices_whole() -> None:
    cards = [f"cuda:{number}" for number in range(5)]
    assert shares_of(choice_of("cuda", TWO, 2), cards) == [
        ("cuda:0", "cuda:1"), ("cuda:2", "cuda:3"),
    ]  # fmt: skip
    assert shares_of(choice_of("cuda", ONE_DEVICE), cards) == [(each,) for each in cards]
    assert shares_of(choice_of("cpu", TWO), None) == [("cpu",)]
    assert shares_of(choice_of("cuda", OVER_RAY), cards) == [("cuda",)], "Ray hands out its own"
    for device, here in (("cuda:1", ["cuda:1"]), ("cuda", ["cuda:0"])):
        with pytest.raises(MachineUnfit, match=rf"2 devices, and {device} is 1 here; .*--devices"):
            shares_of(choice_of(device, TWO), here)
    assert seeing(choice_of("cuda", TWO), ("cuda:2", "cuda:3"))[-1] == "CUDA_VISIBLE_DEVICES=2,3"
    assert seeing(choice_of("cuda", OVER_RAY), ("cuda",)) == []
    assert seeing(choice_of("cpu", TWO), ("cpu",)) == []
    assert seeing(EngineChoice("archipel", device="cuda"), ("cuda:1",)) == [], "it is told by name"


def test_how_a_model_is_spread_reaches_the_engine_and_is_told(tmp_path: Path) -> None:
    settings = NodeSettings(
        lab_url="", home=tmp_path, engine="vllm", threads=2, engines=2, spread=TWO
    )
    assert settings.devices == 4
    assert settings.several == "2 engines, each on 2 devices"
    assert replace(settings, engines=1).several == "vllm on 2 devices"
    chosen = Child(setup_of(settings), sys.stdout.buffer)._choice()
    assert chosen == EngineChoice("vllm", "float32", "cpu", 2, TWO)


def test_an_engine_that_splits_its_model_is_started_anew_after_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crew of one, which holds the weights while its member and the processes of that come and go."""
    monkeypatch.setattr(Crew, "load", lambda self, state: None)
    made = make_engine(tmp_path, lively_state(CONFIG), choice_of("cpu", TWO))
    assert isinstance(made, Crew)


def test_weights_that_work_may_not_write_are_refused_before_an_engine_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = {"one": torch.zeros(100, dtype=torch.bfloat16)}
    monkeypatch.setattr("archipel.work.engines.resource.getrlimit", lambda kind: (500, 500))
    assert too_little_scratch(choice_of("cpu", ONE_DEVICE), state) == ""
    assert too_little_scratch(choice_of("cpu", TWO), state) == "", "a crew's file and vLLM's own"
    assert "raise --scratch-gb" in too_little_scratch(choice_of("cpu", TWO, 2), state)
    assert too_little_scratch(EngineChoice(), {"one": torch.zeros(9999)}) == "", "none is written"


def test_options_that_do_not_fit_together_are_refused_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="archipel does not split a model; give --engine"):
        spread_of("archipel", 2, "processes")
    with pytest.raises(click.UsageError, match="give --devices-per-engine too"):
        spread_of("vllm", 1, "ray")
    assert spread_of("transformers", 1, "processes") == ONE_DEVICE
    home = tmp_path / "node"
    words = ["node", "join", "http://127.0.0.1:9", "--home", str(home), "--devices-per-engine", "2"]
    shown = CliRunner().invoke(command, words)
    assert "the engine archipel does not split a model" in shown.output
    assert not home.exists()


def test_processes_of_one_model_meet_on_this_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    here, elsewhere = spread_environment(TWO), spread_environment(OVER_RAY)
    assert here["VLLM_HOST_IP"] == "127.0.0.1"
    assert here["GLOO_SOCKET_IFNAME"] == here["NCCL_SOCKET_IFNAME"]
    assert "RAY_ADDRESS" not in here
    assert elsewhere["RAY_ADDRESS"] == "10.0.0.1:6379"
    assert "GLOO_SOCKET_IFNAME" not in elsewhere
    assert spread_environment(ONE_DEVICE) == {}


NODE = """
import subprocess, sys
with subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
    for line in sys.stdin.buffer:
        child.stdin.write(line)
        child.stdin.flush()
        while reply := child.stdout.readline():
            sys.stdout.buffer.write(reply)
            sys.stdout.buffer.flush()
            if b'"say":"progress"' not in reply:
                break
"""
"""A node, as far as its child is concerned: it holds both ends of the pipes."""


def below(process: int) -> set[int]:
    """Processes that this one started, and those that they did."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, ahead = set(), [process]
    while ahead:
        ahead = [each for one in ahead for each in parents.get(one, ())]
        found |= set(ahead)
    return found


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name, as a home's: sockets lie in it."""
    with TemporaryDirectory(prefix="split-") as made:
        yield Path(made).resolve()


@pytest.fixture
def node(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "scratch").mkdir()
    environment = surroundings(folder, 2) | {"TMPDIR": str(folder / "scratch")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", NODE, PYTHON, "-m", "archipel.work.child"],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    yield process
    left = below(process.pid) | {process.pid}
    for each in filter(lives, left):
        os.kill(each, signal.SIGKILL)
    process.communicate()


def told(node: subprocess.Popen[bytes], message: object) -> object:
    assert node.stdin is not None
    assert node.stdout is not None
    node.stdin.write(to_line(message))  # type: ignore[arg-type]
    node.stdin.flush()
    return read_from_child(node.stdout.readline())


@pytest.mark.slow
@pytest.mark.timeout(TRIAL_LIMIT_S + 60)
def test_a_confined_work_process_splits_a_model_and_a_killed_node_leaves_nothing_behind(
    folder: Path, node: subprocess.Popen[bytes]
) -> None:
    config = replace(child.CONFIG, head_dim=64)
    write_model(folder / "model", random_weights(config, 0), config, asked.TOKENIZER)
    given = child.setup(folder, "rollout").model_copy(
        update={"engine": "vllm", "spread": TWO, "readable": (folder, ROOT / "src", ROOT / "tests")}
    )
    ready = told(node, given)
    assert isinstance(ready, Ready)
    assert {"file_reads", "file_writes", "system_calls"} <= set(ready.protections)
    assert "processes" not in ready.protections, "it sees them, and does not say otherwise"
    reply = told(node, child.rollout_work(folder, folder / "model", config=config))
    while isinstance(reply, ProgressMessage):
        assert node.stdout is not None
        reply = read_from_child(node.stdout.readline())
    assert isinstance(reply, Done), (reply, (folder / "log").read_text()[-3000:])
    rollouts = load_file(reply.files["rollouts"])
    assert torch.isfinite(rollouts["logprobs"]).all()
    started = below(node.pid)
    assert len(started) >= 4, "the child, its member and a process for each device"
    node.kill()
    node.wait(10)
    until_s = time.monotonic() + 60
    while any(map(lives, started)) and time.monotonic() < until_s:
        time.sleep(0.1)
    assert not list(filter(lives, started))


PARENT = """
import os, resource, signal
resource.setrlimit(resource.RLIMIT_CPU, (600, resource.getrlimit(resource.RLIMIT_CPU)[1]))
if os.fork() == 0:
    from archipel.engine.vllm_spread import SpreadWorker
    SpreadWorker().live_with_parent()
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    os.write(1, b"bounded" if soft != hard else b"free")
signal.pause()
"""


@pytest.mark.slow
def test_a_process_of_a_split_model_dies_with_its_parent_and_has_time_for_every_work() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT / "src")},
    ) as parent:
        assert parent.stdout is not None
        assert os.read(parent.stdout.fileno(), 100) == b"free"
        parent.kill()
        assert parent.stdout.read() == b"", "the end of all that wrote there"
