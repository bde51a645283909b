"""A run of real processes, released, and made again by a stranger: equal in every bit, stopped in the middle or not."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import archipel
from releases import said
from scenarios.lockstep import secret_file
from stage import Stage
from tiny import NAME

LIMIT_S = 240.0


def rebuilt(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "archipel.cli.archipel", "release", "rebuild", *arguments],
        env={
            "PATH": os.defpath,
            "PYTHONPATH": str(Path(archipel.__file__).parents[1]),
            "OMP_NUM_THREADS": "1",
            "ARCHIPEL_HOME": str(folder / "own"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_release_of_an_exact_run_is_made_again_whole_and_its_class_is_reproduced(
    make_stage: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "own"))
    stage = make_stage()
    exact = stage.recipe.sampling.model_copy(update={"engine": "exact", "variant": "w7a8"})
    stage.recipe = stage.recipe.model_copy(update={"sampling": exact})
    stage.open()
    stage.site.start_node("only")
    stage.wait_for_version(stage.recipe.run.versions)
    stage.wait(lambda: bool(stage.site.run(NAME).evaluations), "the last evaluation")
    stage.finished()
    (tmp_path / "release.toml").write_text('[licences]\ndefault = "CC-BY-4.0"\n')
    bundle, report = tmp_path / "bundle", tmp_path / "bundle.rebuilt.json"
    own = [*secret_file(tmp_path), "--stated", str(tmp_path / "release.toml")]
    said("make", NAME, "--home", str(stage.site.home("lab")), "--out", str(bundle), *own)
    kept = _stopped(tmp_path, bundle)
    whole = rebuilt(tmp_path, str(bundle), "--json")
    out, err = whole.communicate(timeout=LIMIT_S)
    assert whole.returncode == 0, err
    told: dict[str, Any] = json.loads(out)
    assert {each["came"] for each in told["came"]} == {"equal"}
    assert all(each["made"] == each["total"] > 0 for each in told["shares"])
    assert len(told["shares"]) == 4
    assert told["by_its_code"]
    assert all(told["rebuilt"].values())
    again = {each["stage"]: each for each in told["came"]}
    assert {name: again[name]["wall_s"] for name in kept} == kept, "nothing was made twice"
    present = json.loads(said("openness", str(bundle), "--json"))["classes"]
    graded = json.loads(said("openness", str(bundle), "--rebuilt", str(report), "--json"))
    assert graded["classes"]["reproduced"] == present["present"] > 0
    assert present["reproduced"] == 0


def _stopped(folder: Path, bundle: Path) -> dict[str, float]:
    """Ctrl-C as soon as a stage is kept: what is kept then, and how long each took."""
    stopped, deadline = rebuilt(folder, str(bundle)), time.monotonic() + LIMIT_S
    while not (found := list((folder / "own" / "rebuild").glob("*/stages.json"))):
        assert stopped.poll() is None, stopped.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=LIMIT_S)
    assert stopped.returncode != 0
    assert "Traceback" not in err
    return {each["stage"]: each["wall_s"] for each in json.loads(found[0].read_bytes())["stages"]}
