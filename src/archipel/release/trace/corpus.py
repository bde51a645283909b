"""A bundle's own training data as one text: files of data and of the environment, prompts, and what was sampled.

Law: the same bundle gives the same bytes; every text is closed by END, and what is left out is said.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from archipel.model.tokenizer import InvalidTokenizer, Tokenizer
from archipel.records.prompts import unpack_tasks
from archipel.release import places
from archipel.release.hearing import rollouts
from archipel.release.trace.suffixes import END
from archipel.release.trace.texts import texts_of
from archipel.release.trace.told import Told, Untraceable
from archipel.release.verify.files import read_bounded

MAX_CORPUS_BYTES = 16 * 1024 * 1024
"""Sorting them takes some 70 bytes of memory for each."""
MAX_LEFT_OUT = 100
MAX_PROMPT_BLOB_BYTES = 256 * 1024 * 1024
Kind = Literal["data", "environment", "prompt", "rollout"]
NOT_TEXTS = frozenset(
    {
        places.ROLLOUTS,
        places.SOURCES,
        places.CROISSANT,
        places.ENVIRONMENT_SAID,
        places.GIVEN_AWAY,
    }
)
"""Files there that speak of the data, and are none."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file, a batch of prompts or a result: texts side by side in the corpus."""

    kind: Kind
    name: str
    """Its place in the bundle, or the work that answered."""
    entry: int | None
    """In the ledger, where an entry names it."""
    start: int
    size: int
    groups: tuple[int, ...] = ()
    """Of prompts and results: whose texts these are, in order."""
    each: int = 1
    """Texts of one group."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """All of it."""

    data: bytes
    documents: tuple[Document, ...]
    left_out: tuple[str, ...]


@dataclass(slots=True)
class _Gathering:
    data: bytearray = field(default_factory=bytearray)
    documents: list[Document] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, said: str) -> None:
        """A sentence."""
        if len(self.left_out) < MAX_LEFT_OUT:
            self.left_out.append(said)
        elif len(self.left_out) == MAX_LEFT_OUT:
            self.left_out.append("and more")

    def add(self, document: Document, texts: Iterable[bytes]) -> None:
        """One more; start and size are filled in here."""
        added = b"".join(text + END for text in texts)
        start, size = len(self.data), len(added)
        if start + size > MAX_CORPUS_BYTES:
            self.leave_out(
                f"{document.name}: with it there would be more than {MAX_CORPUS_BYTES} bytes of text"
            )
            return
        self.data += added
        self.documents.append(
            Document(
                document.kind, document.name, document.entry, start, size, document.groups, document.each
            )
        )  # fmt: skip


def corpus_of(told: Told) -> Corpus:
    """Files first, then prompts, then results that stand, each in the order of the bundle's ledger.

    Raises:
        Untraceable: a blob is damaged. BadPayload: one is nothing of the kind. OSError: a file cannot be read.
    """
    made = _Gathering()
    for place in told.files:
        if (
            place.startswith((f"{places.DATA}/", f"{places.ENVIRONMENT}/"))
            and place not in NOT_TEXTS
        ):
            _file(made, told.folder, place)
    if told.recipe.supervised is not None and not told.recipe.data_paths:
        made.leave_out("examples of the supervised stage: a generator makes them, they lie nowhere")
    try:
        tokenizer = Tokenizer.from_directory(told.folder)
    except InvalidTokenizer as error:
        made.leave_out(
            f"prompts and results: no tokenizer of this bundle reads them ({error!s:.200})"
        )
    else:
        _prompts(made, told, tokenizer)
        _results(made, told, tokenizer)
    return Corpus(bytes(made.data), tuple(made.documents), tuple(made.left_out))


def _file(made: _Gathering, folder: Path, place: str) -> None:
    try:
        texts = texts_of(place, read_bounded(folder / place, MAX_CORPUS_BYTES))
    except ValueError as error:
        made.leave_out(f"{place}: {error!s:.200}")
        return
    if texts is None:
        made.leave_out(f"{place} is not UTF-8 text")
        return
    kind: Kind = "data" if place.startswith(f"{places.DATA}/") else "environment"
    made.add(Document(kind, place, None, 0, 0), texts)


def _prompts(made: _Gathering, told: Told, tokenizer: Tokenizer) -> None:
    heard = told.heard
    size, lost = heard.story.pace.groups_per_update, 0
    for number, update in enumerate(heard.story.updates):
        for batch in update.answer.prompts:
            path = told.blob(batch.blob)
            if path is None:
                lost += 1
                continue
            _, prompts, _ = unpack_tasks(read_bounded(path, MAX_PROMPT_BLOB_BYTES))
            groups = tuple(range(batch.batch * size, batch.batch * size + len(prompts)))
            name, entry = f"batch {batch.batch} of prompts", heard.published[number].index
            made.add(Document("prompt", name, entry, 0, 0, groups), _decoded(tokenizer, prompts))
    if lost:
        made.leave_out(f"{lost} batches of prompts that are not in this bundle")


def _results(made: _Gathering, told: Told, tokenizer: Tokenizer) -> None:
    lost, each_group = 0, told.heard.story.pace.group_size
    standing = told.heard.story.standing
    for work, spec, _ in rollouts(told.heard.story):
        told.tell(f"result of {work}")
        found = told.rollouts(standing[work])
        if found is None:
            lost += 1
            continue
        tokens = (each.tokens for group in spec.groups for each in found[group])
        entry = told.heard.answered[work].index
        document = Document("rollout", work, entry, 0, 0, spec.groups, each_group)
        made.add(document, _decoded(tokenizer, tokens))
    if lost:
        made.leave_out(f"{lost} results that are not in this bundle")


def _decoded(tokenizer: Tokenizer, rows: Iterable[tuple[int, ...]]) -> Iterator[bytes]:
    try:
        for row in rows:
            yield tokenizer.decode(row).encode()
    except (OverflowError, UnicodeEncodeError) as error:
        raise Untraceable(f"tokens that this bundle's tokenizer cannot read: {error}") from None
