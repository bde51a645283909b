"""`release.json`: what a bundle holds, component by component, and whose release it is.

Laws: closed, canonical JSON, bounded; a path is relative, plain and inside the bundle. Licences are SPDX expressions
of single ids joined by ` AND `.
"""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from archipel.records.canonical import canonical_json, parse_canonical
from archipel.records.fields import BlobRef, Closed, Count, Did, Digest, RunName, VersionNumber

FORM: Final = 1
MAX_INDEX_BYTES = 64 * 1024 * 1024
MAX_FILES = 1_000_000
MAX_PATH_CHARACTERS = 512
MAX_COMPONENTS = 256

_PLAIN = re.compile(r"[A-Za-z0-9_@+=,.-]+(/[A-Za-z0-9_@+=,.-]+)*")
LICENCE = r"^[A-Za-z0-9.+-]+( AND [A-Za-z0-9.+-]+)*$"


def plain_path(path: str) -> str:
    """`path`, if it is relative, plain and leads nowhere else.

    Raises:
        ValueError: it is not.
    """
    if len(path) > MAX_PATH_CHARACTERS or not _PLAIN.fullmatch(path):
        raise ValueError(
            f"{path!r:.80} is no plain relative path of at most {MAX_PATH_CHARACTERS} characters"
        )
    if {".", ".."} & set(path.split("/")):
        raise ValueError(f"{path!r:.80} leads out of the bundle")
    return path


Place = Annotated[str, AfterValidator(plain_path)]
Licence = Annotated[str, Field(pattern=LICENCE, max_length=256)]

Kind = Literal[
    "architecture",
    "parameters",
    "versions",
    "tokenizer",
    "recipe",
    "environment",
    "dataset",
    "data_preprocessing",
    "training_code",
    "inference_code",
    "evaluation_code",
    "evaluation_data",
    "evaluation_results",
    "libraries",
    "model_card",
    "data_card",
    "technical_report",
    "research_paper",
    "sample_outputs",
    "metadata",
    "ledger",
]
"""What a component is, near the words of the Model Openness Framework (`versions`: intermediate parameters)."""


class Component(Closed):
    """One part of a release: where it lies, under which licence, and what it is for."""

    kind: Kind
    name: Annotated[str, Field(min_length=1, max_length=200)]
    places: Annotated[tuple[Place, ...], Field(min_length=1, max_length=10_000)]
    """Files, or folders that end with nothing else; all files below a folder belong to it."""
    licence: Licence | None
    """None: its owner states none, so it counts as not open."""
    source: Annotated[str, Field(max_length=500)] | None = None
    """Where it came from, for people."""


class Parent(Closed):
    """A model that this one was made from."""

    relation: Literal["fine-tuned from", "distilled from", "adapter of", "merged from"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    weights: Digest
    """State digest of its weights."""
    release: Digest | None = None
    """SHA-256 of its release.json, where it has one."""
    licence: Licence | None = None
    despite: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Why its owner gives the release away although the parent's terms, as they are known here, forbid it."""


class Released(Closed):
    """The index."""

    form: Literal[1] = FORM
    title: Annotated[str, Field(min_length=1, max_length=200)]
    run: RunName
    lab: Did
    origin: Annotated[str, Field(max_length=1024)]
    """Of the ledger's tree heads."""
    tree_size: Count
    """Entries that the bundled ledger covers."""
    tree_root: Digest
    version: VersionNumber
    """The version whose weights lie at the root of the bundle."""
    weights: Digest
    """State digest of it."""
    at_ms: int
    """When its last entry was received by the lab, Unix milliseconds: a release knows no other clock."""
    components: Annotated[tuple[Component, ...], Field(max_length=MAX_COMPONENTS)]
    parents: Annotated[tuple[Parent, ...], Field(max_length=64)] = ()
    missing: Annotated[
        tuple[Annotated[str, Field(max_length=500)], ...], Field(max_length=1000)
    ] = ()
    """What a whole release would hold and this one does not, a sentence each."""
    blobs: Annotated[tuple[BlobRef, ...], Field(max_length=MAX_FILES)] = ()
    """What lies in `blobs/`, sorted by digest."""

    def licence_of(self, kind: Kind) -> str | None:
        """Of the first component of this kind."""
        return next((each.licence for each in self.components if each.kind == kind), None)

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))


def read_index(data: bytes) -> Released:
    """The index of a bundle.

    Raises:
        ValueError: it is none; the message names the fault (pydantic's ValidationError and NotCanonical are ValueErrors).
    """
    if len(data) > MAX_INDEX_BYTES:
        raise ValueError(f"release.json has {len(data)} bytes; at most {MAX_INDEX_BYTES}")
    parse_canonical(data)
    return Released.model_validate_json(data)
