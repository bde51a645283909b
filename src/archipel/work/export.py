"""From a chain of fetched versions to a model directory that anyone can load."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from archipel.model.directory import read_config, write_model
from archipel.model.manifest import BadWeights, Manifest
from archipel.model.tokenizer import Tokenizer
from archipel.model.versions import apply_delta, decode_anchor
from archipel.work.messages import LinkMessage


class ExportFailed(Exception):
    """There is nothing to export, or it does not verify."""


def write_version(links: Sequence[LinkMessage], support: Path, out: Path) -> str:
    """Write the weights at the end of `links`, with config and tokenizer from `support`, to `out`.

    Returns the state digest of the weights.

    Raises:
        ExportFailed: the chain is broken or does not end where the lab says.
    """
    state: dict[str, Tensor] = {}
    held: Manifest | None = None
    try:
        for link in links:
            manifest = Manifest.from_bytes(Path(link.manifest).read_bytes())
            if held is not None and link.delta is not None:
                state = apply_delta(state, held, Path(link.delta).read_bytes(), manifest)
            elif link.anchor is not None:
                state = decode_anchor(Path(link.anchor).read_bytes(), manifest)
            else:
                raise ExportFailed(f"version {link.version} cannot be reached: no anchor before it")
            held = manifest
    except BadWeights as error:
        raise ExportFailed(str(error)) from None
    if held is None or held.state != links[-1].policy:
        raise ExportFailed("the chain of weights does not end at the digest that the lab published")
    write_model(out, state, read_config(support), Tokenizer.from_directory(support))
    return held.state
