"""Some parts of a version, for whoever holds some of the layers: fetched along their chain, and nothing else.

Parts: `Asked`, `fetch_some`, `Chosen`. Law: the run and its versions are believed as a node believes them, by what its trusted role signed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from archipel.blobs import BlobStore
from archipel.node.client import LabReader
from archipel.node.exchange import LabRefused, believed
from archipel.node.parts import Told, fetch_parts, read_parts, tell_nobody
from archipel.node.sealed import Founding, opening_of
from archipel.node.supply import Supply
from archipel.node.weights import Weights
from archipel.records.chain import Publication
from archipel.records.documents import Opening, RunView
from archipel.records.weight_parts import InParts, Part, PartIndex
from archipel.work.messages import PartFiles

Choose = Callable[[PartIndex], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which parts somebody needs."""

    run: str
    version: int | None
    """None: the newest."""
    choose: Choose
    """Numbers of the parts, ascending."""
    only_plan: bool = False
    """Fetch the documents alone."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One version of a chain, as far as it is here."""

    index: PartIndex
    files: dict[int, PartFiles]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What came of it."""

    links: tuple[Fetched, ...]
    numbers: tuple[int, ...]
    """Of the parts that were wanted."""
    bytes_from_mirrors: int
    bytes_from_lab: int


async def fetch_some(
    url: str,
    store: BlobStore,
    asked: Asked,
    mirrors: Sequence[str] = (),
    told: Told = tell_nobody,
) -> Chosen:
    """Fetch those parts of a version that are asked for, from mirrors and the lab.

    Raises:
        LabUnreachable, LabRefused: from the lab; also when the version is not in parts.
        ValueError: there is no such version, or no part was chosen.
        StorageFull, OSError: this machine's disk.
    """
    async with LabReader(url) as lab:
        await lab.meet()
        supply = Supply(lab, store, mirrors)
        try:
            steps = await _steps(lab, supply, asked)
            links = list[Fetched]()
            numbers: tuple[int, ...] = ()
            for entry, step in steps:
                documents = await read_parts(entry, step, supply.fetch)
                if not links:
                    numbers = tuple(asked.choose(documents.index))
                    if not numbers:
                        raise ValueError("no part holds such tensors; name others")
                elif _cuts(documents.index) != _cuts(links[0].index):
                    raise LabRefused(
                        "bad-parts", f"version {entry.version} is cut otherwise than before", 200
                    )
                files = (
                    []
                    if asked.only_plan
                    else await fetch_parts(documents, numbers, supply.fetch, told)
                )
                links.append(Fetched(documents.index, dict(zip(numbers, files, strict=False))))
        finally:
            await supply.mirrors.close()
        return Chosen(tuple(links), numbers, supply.mirrors.bytes_down, lab.bytes_down)


async def _steps(lab: LabReader, supply: Supply, asked: Asked) -> list[tuple[Publication, str]]:
    """The chain to the version that is asked for, all of it in parts."""
    run = asked.run
    newest = (await lab.read(RunView, f"/runs/{run}")).version
    target = newest if asked.version is None else asked.version
    if not 0 <= target <= newest:
        raise ValueError(f"{run} has versions 0 to {newest}, not {target}")
    shown = await lab.read(Opening, f"/runs/{run}/opening")
    opened = believed(lambda: opening_of(shown.opening, Founding(lab.lab, lab.operators), run))
    steps = await Weights(lab, supply.fetch).steps(opened, -1, target)
    whole = [entry.version for entry, _ in steps if not isinstance(entry.manifest, InParts)]
    if whole:
        raise LabRefused(
            "not-in-parts",
            f"version {whole[0]} of {run} is published whole; take it with `archipel run export`",
            200,
        )
    return steps


def _cuts(index: PartIndex) -> list[tuple[str, str, tuple[int, int] | None]]:
    return [(part.first, part.last, _rows(part)) for part in index.parts]


def _rows(part: Part) -> tuple[int, int] | None:
    return None if part.rows is None else (part.rows.start, part.rows.stop)
