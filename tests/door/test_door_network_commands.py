"""A door over a network as its how-to says it: every part a command, and a client over HTTP that trains and samples."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from archipel.bench.site import PROGRAM, Site
from archipel.model.tokenizer import EOS, Tokenizer
from open_door import Client, sampling, step, training
from stage import EVERY_PROCESS
from tiny import write_start
from toy_hands import BASE

SOURCE = str(Path(__file__).parents[2] / "src")
LIMIT_S = 120.0
ROUNDS = 6
NODES = ("first", "second")


def said(*words: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, *PROGRAM, *words],
        env=EVERY_PROCESS | {"PYTHONPATH": SOURCE, "HOME": os.devnull},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def door(folder: Path, lab: str) -> Iterator[tuple[str, str]]:
    """`archipel door start`, until the block ends: where it is, and a key to it."""
    words = ["door", "start", "--lab", lab, "--run", "open-door", "--key", f"{folder}/door.key"]
    words += ["--name", BASE, "--listen", "127.0.0.1:0", "--folder", f"{folder}/door"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *PROGRAM, *words],
            env=EVERY_PROCESS | {"PYTHONPATH": SOURCE, "HOME": os.devnull},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            assert process.stdout is not None
            told = process.stdout.readline() + process.stdout.readline()
            found = re.search(r"TINKER_BASE_URL=(\S+) TINKER_API_KEY=(\S+)", told)
            assert found, told + (folder / "log").read_text()
            yield found[1], found[2]
        finally:
            process.terminate()
            process.wait(LIMIT_S)
            if process.stdout is not None:
                process.stdout.close()


async def learnt(url: str, key: str, lesson: list[int]) -> dict[str, list[Any]]:
    """Losses, and how completions ended by what they were to stop at."""
    async with httpx.AsyncClient(base_url=url, timeout=LIMIT_S, trust_env=False) as http:
        client = await Client(http, key).begin()
        model = await client.model(rank=8)
        losses = []
        for number in range(ROUNDS):
            asked = training(model, 2 * number + 1, lesson)
            passed = await client.post("forward_backward", asked)
            stepped = await client.post("optim_step", step(model, 2 * number + 2, 0.02))
            losses.append((await client.end_of(passed["request_id"]))["metrics"]["loss:sum"])
            assert "error" not in await client.end_of(stepped["request_id"])
        body = {"model_id": model, "seq_id": 2 * ROUNDS + 1, "path": "final"}
        saved = await client.post("save_weights_for_sampler", body)
        path = (await client.end_of(saved["request_id"]))["path"]
        sampler, ends = await client.sampler(0, path), []
        for seq, stop in enumerate((None, [EOS], [])):
            params = {"max_tokens": 8, "seed": 3, "temperature": 0.0, "stop": stop}
            asked = sampling(sampler, seq, lesson[:2], sampling_params=params)
            given = await client.post("asample", asked)
            ends.append((await client.end_of(given["request_id"]))["sequences"][0])
        return {"losses": losses, "ends": ends}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nodes_train_and_sample_for_a_client_by_the_commands_of_the_how_to(tmp_path: Path) -> None:
    start = write_start(tmp_path / "start")
    tokenizer = Tokenizer.from_directory(start)
    (end,) = tokenizer.endings((EOS,))[1]
    with Site(tmp_path / "site", EVERY_PROCESS) as site:
        lab = site.start_lab()
        key = said("operator", "new", "--key", str(tmp_path / "door.key")).strip()
        shown = said("recipe", "show", "open-door")
        recipe = re.sub(r"did:key:\w+", key, shown)
        (tmp_path / "open-door.toml").write_text(recipe)
        words = ["run", "open", str(tmp_path / "open-door.toml"), "--weights", str(start)]
        words += ["--lab", lab, "--key", str(site.home("lab") / "operator.key")]
        words += ["--home", str(tmp_path / "update"), "--trust", site.did("first")]
        said(*words)
        for name in NODES:
            site.start_node(name)
        with door(tmp_path, lab) as (url, secret):
            told = asyncio.run(learnt(url, secret, [4, 5, end, end, end, end, end, end]))
    assert told["losses"][-1] < told["losses"][0] / 2
    by_itself, by_name, never = told["ends"]
    for each in (by_itself, by_name):
        assert (each["stop_reason"], each["tokens"]) == ("stop", [end])
    assert (never["stop_reason"], len(never["tokens"])) == ("length", 8)
