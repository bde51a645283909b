"""Some parts of a version as files that others load, one part in memory at a time.

Parts: `write_some`. Law: a part moves along its own chain, from its anchor over its deltas, and each step is believed by
the digests in that version's index; the other parts are not looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from torch import Tensor

from archipel.model.manifest import BadWeights
from archipel.records.weight_parts import Part, PartIndex
from archipel.work.export import ExportFailed
from archipel.work.messages import PartFiles
from archipel.work.part_files import PartWeights, manifest_of, read_part


@dataclass(frozen=True, slots=True)
class SomeParts:
    """One version of a chain, as far as it was fetched."""

    index: PartIndex
    files: Mapping[int, PartFiles]
    """By number of the part; anchors in the first link of a chain, deltas in the others."""


def write_some(
    links: Sequence[SomeParts],
    numbers: Sequence[int],
    out: Path,
    told: Callable[[int], None] = lambda done: None,
) -> list[Path]:
    """Write these parts at the end of the chain, each a safetensors file in `out`; told: after each, how many are.

    A file of rows says which in its name.

    Raises:
        ExportFailed: a part is damaged, or leads elsewhere. OSError: the disk.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for done, number in enumerate(numbers, 1):
        try:
            state = _followed(links, number)
        except BadWeights as error:
            raise ExportFailed(f"part {number}: {error}") from None
        path = out / name_of(number, links[-1].index.parts[number])
        aside = path.with_suffix(".partial")
        safetensors.torch.save_file(dict(state), aside)
        aside.replace(path)
        written.append(path)
        told(done)
    return written


def name_of(number: int, part: Part) -> str:
    """File name of a part."""
    rows = "" if part.rows is None else f"-rows-{part.rows.start}-{part.rows.stop}"
    return f"part-{number:05}{rows}.safetensors"


def _followed(links: Sequence[SomeParts], number: int) -> Mapping[str, Tensor]:
    held: PartWeights | None = None
    for link in links:
        part, files = link.index.parts[number], link.files[number]
        manifest = manifest_of(part, files[0].read_bytes())
        state = read_part(manifest, files[1].read_bytes(), held)
        held = PartWeights(state, manifest, part.rows)
    if held is None:
        raise ExportFailed("there are no versions to write")
    return held.state
