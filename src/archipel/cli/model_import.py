"""`archipel model import`: a GGUF file as a model directory."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from archipel.model.gguf_import import Imported


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Model directory to write."
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="float32 keeps what the file says; bfloat16 takes half the room, and is what a run publishes.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(file: Path, out: Path, dtype: str, as_json: bool) -> None:
    """Write the model in the GGUF file FILE as a directory.

    Families llama, qwen2, qwen3, olmo2 and qwen3moe with byte-level tokenizers; F32, F16, BF16, Q8_0, Q4_0, Q4_1,
    Q5_0, Q5_1, Q4_K, Q5_K and Q6_K. What the file says and a directory cannot is refused by name.

    \b
    Examples:
      archipel model import SmolLM2-135M-Instruct.Q4_1.gguf --out smollm2
      archipel model import qwen3-0.6b.Q8_0.gguf --out qwen3 --dtype bfloat16
    """
    from archipel.cli.doors import mending, show

    with mending(OSError, ValueError, RuntimeError):
        import torch

        from archipel.model.gguf_import import import_gguf

        done = import_gguf(file, out, getattr(torch, dtype), teller("tensors"))
    values = {"out": str(out), "dtype": dtype, **summary(done)}
    show(values, as_json, lambda: words(done, out, dtype))


def teller(what: str) -> Callable[[int, int], None]:
    """A line that is written over, where somebody watches."""
    import sys

    watched = sys.stderr is not None and sys.stderr.isatty()

    def tell(done: int, total: int) -> None:
        if watched:
            click.echo(f"\r{done} of {total} {what}", err=True, nl=done == total)

    return tell


def summary(done: "Imported") -> dict[str, Any]:
    """What was imported, for machines."""
    values = asdict(done)
    config = values.pop("config")
    return values | {"family": config["family"], "end_ids": list(config["eos_token_ids"])}


def words(done: "Imported", out: Path, dtype: str) -> str:
    """What was imported, for people."""
    from archipel.cli.doors import printable

    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(done.packings.items()))
    return printable(
        f"{out}: {done.name or 'a model without a name'}, {done.config.family}, "
        f"{done.parameters:,} parameters as {dtype}, from {kinds}\n"
        f"licence {done.licence or 'not stated in the file: ask where it comes from'}; "
        f"the file's sha256 {done.sha256}\n"
        f"talk to it: archipel chat {out}"
    )
