"""`archipel gguf`: a model directory as one file for llama.cpp."""

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
def command(folder: Path, out: Path) -> None:
    """Write the model directory FOLDER, made from nothing here, as the GGUF file OUT.

    For models whose tokenizer is `characters` or `bytes`. llama.cpp's own convert_hf_to_gguf.py takes folders
    with published tokenizers.

    \b
    Examples:
      archipel gguf trained trained.gguf
    """
    from archipel.cli.doors import mending
    from archipel.model.directory import read_model
    from archipel.model.gguf import write_gguf
    from archipel.model.tokenizer import Tokenizer

    with mending(OSError, ValueError):
        write_gguf(out, read_model(folder), Tokenizer.from_directory(folder))
    click.echo(f"{out}: {out.stat().st_size:,} bytes, float32")
