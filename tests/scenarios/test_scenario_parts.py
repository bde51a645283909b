"""A whole run published in parts: the same versions as unparted, kept, fetched and verified part by part."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from archipel import source_environment
from archipel.bench.site import Site
from archipel.blobs import BlobStore
from archipel.lab.garbage import needed, versions_in_parts
from archipel.lab.parted import Parted
from archipel.records.weight_parts import InParts
from stage import EVERY_PROCESS, Outcome, Stage
from tiny import NAME

PARTS = 4
pytestmark = pytest.mark.slow


def archipel(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "archipel.cli.archipel", *words],
        env={**source_environment(), **EVERY_PROCESS},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def in_parts(stage: Stage) -> Stage:
    run = stage.recipe.run.model_copy(update={"parts": PARTS})
    stage.recipe = stage.recipe.model_copy(update={"run": run})
    return stage


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
    kept = needed(outcome.state) | Parted(store).digests(versions_in_parts(outcome.state))
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
        archipel("lab", "backup", str(tmp_path / "copy"), "--home", str(home))
    copied = BlobStore(tmp_path / "copy" / "blobs")
    assert kept <= set(copied.digests())
