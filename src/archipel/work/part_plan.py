"""How a version is cut into parts, and which of them somebody needs: names and sizes, never a tensor.

Parts: `Planned`, `planned` (names and shapes into parts), `share` (whose rank writes which), `wanted` (by names),
`rows_wanted` (by rank). Law: everything goes forward in the order of names and holds one part at a time, so a plan of two
terabytes takes no more memory than one of two kilobytes.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from archipel.model.weight_files import Stored
from archipel.records.weight_parts import MAX_PART_TENSORS, MAX_PARTS, WEIGHT_BYTES, PartIndex

_LAYER = re.compile(r"(?:.*?\.)?\d+\.")
"""Up to the first number of a name: what stands in one layer begins alike."""

PARTS_FOLDER = "parts"
"""Beside the folder of a version's files."""

Form = tuple[str, tuple[int, ...]]
"""Name and shape."""


class CannotPart(ValueError):
    """Tensors that cannot be cut as they were asked to be; the message says which."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One part before it is written."""

    forms: tuple[Form, ...]
    """Its tensors, as they are whole."""
    rows: tuple[int, int] | None = None
    """[start, stop) of its only tensor; None: all of each."""

    @property
    def num_bytes(self) -> int:
        """That the part holds."""
        if self.rows is not None:
            _, shape = self.forms[0]
            return WEIGHT_BYTES * (self.rows[1] - self.rows[0]) * math.prod(shape[1:])
        return sum(size_of(shape) for _, shape in self.forms)


def parts_folder(files: Path) -> Path:
    """Where the parts' files lie of a version whose own are in `files`."""
    return files.parent / PARTS_FOLDER


def size_of(shape: Sequence[int]) -> int:
    """Bytes of a tensor."""
    return WEIGHT_BYTES * math.prod(shape)


def goal_of(num_bytes: int, parts: int) -> int:
    """How large a part should be, for a version of `num_bytes` to have about so many.

    Raises:
        CannotPart: no part, or more than any version may have.
    """
    if not 1 <= parts <= MAX_PARTS:
        raise CannotPart(f"{parts} parts; expected 1 to {MAX_PARTS}")
    return max(-(-num_bytes // parts), 1)


def planned(
    forms: Iterable[Form], goal_bytes: int, most_bytes: int | None = None
) -> Iterator[Planned]:
    """Parts of about `goal_bytes`, cut between layers where that is near.

    forms: in the order of names. most_bytes: a larger tensor is cut by its rows; None: every tensor stays whole.

    Raises:
        CannotPart: names out of order, or more parts than a version may have.
    """
    made, count = _planned(_ascending(forms), goal_bytes, most_bytes), 0
    for count, part in enumerate(made, 1):
        if count > MAX_PARTS:
            raise CannotPart(
                f"more than {MAX_PARTS} parts of about {goal_bytes} bytes; ask for larger ones"
            )
        yield part
    if not count:
        raise CannotPart("there are no tensors to cut into parts")


def ranges_of(part: Planned, stored: Mapping[str, Stored]) -> tuple[tuple[Path, int, int], ...]:
    """Where a part's bytes lie in a model directory: [start, stop) of each file, neighbours as one.

    Raises:
        CannotPart: a tensor is not there, or has another shape.
    """
    found = list[tuple[Path, int, int]]()
    for name, shape in part.forms:
        place = stored.get(name)
        if place is None or place.shape != tuple(shape):
            raise CannotPart(f"{name} of shape {shape} does not lie there")
        start, stop = place.start, place.stop
        if part.rows is not None:
            row = size_of(shape[1:])
            start, stop = place.start + part.rows[0] * row, place.start + part.rows[1] * row
        if found and found[-1][0] == place.file and found[-1][2] == start:
            start = found.pop()[1]
        found.append((place.file, start, stop))
    return tuple(found)


def share(sizes: Sequence[int], rank: int, world: int) -> tuple[int, ...]:
    """Numbers of the parts that a rank writes: the largest first, each to whoever has least; rows of one tensor count
    as one where the caller gives them as one.
    """
    filled, mine = [0] * world, []
    for number in sorted(range(len(sizes)), key=lambda each: (-sizes[each], each)):
        least = min(range(world), key=lambda each: (filled[each], each))
        filled[least] += sizes[number]
        if least == rank:
            mine.append(number)
    return tuple(sorted(mine))


def wanted(index: PartIndex, prefixes: Iterable[str]) -> tuple[int, ...]:
    """Numbers of the parts that may hold a tensor whose name begins with one of these ("" is any)."""
    ends = [(prefix, prefix + "\x7f") for prefix in prefixes]
    return tuple(
        number
        for number, part in enumerate(index.parts)
        if any(part.first < stop and part.last >= start for start, stop in ends)
    )


def layers(first: int, stop: int, before: str = "model.layers.") -> tuple[str, ...]:
    """What the names of layers [first, stop) begin with."""
    return tuple(f"{before}{number}." for number in range(first, stop))


def rows_wanted(index: PartIndex, numbers: Iterable[int], rank: int, world: int) -> tuple[int, ...]:
    """Of these parts those that `rank` of `world` needs, where tensors that are cut by rows are shared out by rows."""
    kept = []
    for number in numbers:
        rows = index.parts[number].rows
        if rows is not None:
            start, stop = rows.shape[0] * rank // world, rows.shape[0] * (rank + 1) // world
            if rows.stop <= start or rows.start >= stop:
                continue
        kept.append(number)
    return tuple(kept)


def _ascending(forms: Iterable[Form]) -> Iterator[Form]:
    last = ""
    for name, shape in forms:
        if name <= last:
            raise CannotPart(f"{name} comes after {last}; give tensors in the order of their names")
        last = name
        yield name, shape


def _layer(form: Form) -> str:
    found = _LAYER.match(form[0])
    return "" if found is None else found.group()


def _planned(forms: Iterator[Form], goal: int, most: int | None) -> Iterator[Planned]:
    held, size = list[Form](), 0
    for _, layer in groupby(forms, _layer):
        together = list(layer)
        ahead = sum(size_of(shape) for _, shape in together)
        if held and 2 * size >= goal and 2 * (size + ahead) > 3 * goal:
            yield Planned(tuple(held))
            held, size = [], 0
        for form in together:
            cut = most is not None and size_of(form[1]) > most and len(form[1]) > 0
            if held and (cut or size >= goal or len(held) >= MAX_PART_TENSORS):
                yield Planned(tuple(held))
                held, size = [], 0
            if cut and most is not None:
                yield from _by_rows(form, most)
            else:
                held.append(form)
                size += size_of(form[1])
    if held:
        yield Planned(tuple(held))


def _by_rows(form: Form, most: int) -> Iterator[Planned]:
    _, shape = form
    step = max(most // max(size_of(shape[1:]), 1), 1)
    if step >= shape[0]:  # a single row is larger than that: it stays whole
        yield Planned((form,))
        return
    for start in range(0, shape[0], step):
        yield Planned((form,), (start, min(start + step, shape[0])))
