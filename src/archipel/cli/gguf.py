"""`archipel gguf`: a model directory as one file for llama.cpp."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from archipel.model.gguf_packed import Kind


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16", "q8_0", "q4_0"]),
    default="float32",
    show_default=True,
    help="What matrices are held as; q8_0 and q4_0, of 8 and 4 bits, need the extra `gguf`.",
)
def command(folder: Path, out: Path, dtype: "Kind") -> None:
    """Write the model directory FOLDER as the GGUF file OUT.

    For models made from nothing here, and for those with published byte-level tokenizers whose way of parting text has
    a name in GGUF that is known here (GPT-2, SmolLM2, Llama 3, Qwen2 and their like). llama.cpp's own
    convert_hf_to_gguf.py knows more.

    \b
    Examples:
      archipel gguf trained trained.gguf
      archipel gguf smollm2 smollm2.gguf --dtype float16
    """
    from archipel.cli.doors import mending
    from archipel.model.directory import read_model
    from archipel.model.gguf import write_gguf
    from archipel.model.tokenizer import Tokenizer

    with mending(OSError, ValueError, RuntimeError):
        write_gguf(out, read_model(folder), Tokenizer.from_directory(folder), dtype)
    click.echo(f"{out}: {out.stat().st_size:,} bytes, {dtype}")
