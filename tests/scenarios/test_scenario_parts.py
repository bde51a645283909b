"""A whole run published in parts: the same versions as unparted, kept, fetched and verified part by part."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from archipel import source_environment
from archipel.bench.site import Site
from archipel.blobs import BlobStore
from archipel.lab.garbage import needed
from archipel.lab.parted import Parted
from archipel.records.weight_parts import InParts
from stage import EVERY_PROCESS, Outcome, Stage
from tiny import NAME

PARTS = 4
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def archipel(*words: str, fails: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "archipel.cli.archipel", *words],
        env={**source_environment(), **EVERY_PROCESS},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stderr + done.stdout
    return done.stderr if fails else done.stdout


def in_parts(stage: Stage) -> Stage:
    run = stage.recipe.run.model_copy(update={"parts": PARTS})
    stage.recipe = stage.recipe.model_copy(update={"run": run})
    return stage


def parts_of_a_stage(site: Site, tmp_path: Path) -> None:
    """From a mirror, and the lab behind it: the very tensors of the whole model."""
    shutil.copytree(site.home("lab") / "blobs", tmp_path / "mirror" / "blobs")
    whole = load_file(tmp_path / "model" / "model.safetensors")
    words = ["run", "parts", NAME, "--lab", site.url, "--into", str(tmp_path / "stage"), "--json"]
    words += ["--home", str(tmp_path / "stage-home"), "--layers", "0:1"]
    planned = json.loads(archipel(*words, "--plan"))
    assert not planned["files"]
    assert 0 < len(planned["parts"]) < planned["parts_of_version"]
    with served(tmp_path / "mirror") as url:
        told = json.loads(archipel(*words, "--mirror", url))
    assert told["bytes_from_mirrors"] > 0
    found = {}
    for path in told["files"]:
        found |= load_file(path)
    assert {name for name in whole if name.startswith("model.layers.0.")} <= found.keys()
    assert all(torch.equal(found[name], whole[name]) for name in found)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Plain files over HTTP, as any web server shows them."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def test_a_run_in_parts_makes_the_versions_of_one_that_is_not(
    start: Path, tmp_path: Path, undisturbed: Outcome
) -> None:
    with in_parts(Stage(tmp_path / "site", start, 6, staleness=0)) as stage:
        stage.open()
        stage.site.start_node("early")
        stage.wait_for_version(3)
        stage.restart_lab()
        stage.site.start_node("late")
        outcome = stage.finished()
    assert outcome.policies == undisturbed.policies
    manifests = [made.manifest for made in outcome.versions]
    assert all(isinstance(each, InParts) and each.parts >= 2 for each in manifests)
    home = stage.site.home("lab")
    archipel("lab", "gc", "--home", str(home), "--grace", "0")
    store = BlobStore(home / "blobs")
    kept = Parted(store).needed(outcome.state)
    assert kept == set(store.digests()), "all parts that are needed, and nothing else"
    with Site(tmp_path / "site", EVERY_PROCESS) as site:
        site.start_lab()
        assert site.fetch_weights(NAME, None, tmp_path / "model") == undisturbed.weights
        told = json.loads(
            archipel(
                "run", "verify", NAME, "--lab", site.url, "--json", "--scratch", str(tmp_path / "v")
            )
        )
        assert not told.get("faults"), told
        parts_of_a_stage(site, tmp_path)
        archipel("release", "collect", NAME, "--lab", site.url, "--into", str(tmp_path / "kept"))
        archipel("lab", "backup", str(tmp_path / "copy"), "--home", str(home))
    for folder in ("copy", "kept"):
        found = set(BlobStore(tmp_path / folder / "blobs").digests())
        assert Parted(store).needed(outcome.state) - needed(outcome.state) <= found, folder
    words = ["release", "make", NAME, "--home", str(tmp_path / "kept"), "--out"]
    assert "run.parts" in archipel(*words, str(tmp_path / "bundle"), fails=True)
