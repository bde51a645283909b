"""A corpus from sources: plan, make what is not there yet, write the manifest.

Parts: `Order` (what is asked for), `make_corpus`, `Made`.
Laws: the bytes do not depend on how many processes make them, nor on how often they were stopped. A file that
is there is kept if its header names this text and this tokenizer and its body has the header's digest. A
finished corpus is never replaced by another.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archipel.plurals import counted
from archipel.records.corpus import BadCorpus, CorpusManifest, Shard
from archipel.training.corpus.child_line import ChildLines
from archipel.training.corpus.folder import (
    MANIFEST,
    read_manifest,
    shard_names,
    strays,
    write_manifest,
)
from archipel.training.corpus.planning import Cut, Plan, Planned, plan_shards
from archipel.training.corpus.shard import BadShard, is_whole, open_shard
from archipel.training.corpus.sources import Rules, documents_in, source_files
from archipel.training.corpus.tokenising import Ids, Task, bytes_per_token, make_shard, shard_of

SAMPLE_BYTES = 2**20
"""Of text, from the beginning of the sources: how many bytes a token takes."""
DEFAULT_SHARD_TOKENS = 2**24
TELL_EVERY_S = 1.0
Tell = Callable[[str], None]


class CannotMake(BadCorpus):
    """The corpus cannot be made, or not to its end; the message says what to do."""


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    sources: tuple[Path, ...]
    tokenizer: str
    """A model directory, or `bytes`, or `characters`."""
    out: Path
    license: str
    source: str
    """Where the text is from."""
    rules: Rules = field(default_factory=Rules)
    shard_tokens: int = DEFAULT_SHARD_TOKENS
    """About so many: documents are whole, and bytes of a token are those of the first mebibyte."""
    held_out_millionths: int = 0
    is_keeping_duplicates: bool = False
    processes: int = 1


@dataclass(frozen=True)
class Made:
    """What came of it."""

    manifest: CorpusManifest
    num_made: int
    num_kept: int
    """Shards that were there."""


@dataclass(frozen=True)
class _Making:
    """What all shards have in common."""

    order: Order
    files: tuple[Path, ...]
    ids: Ids
    environment: Mapping[str, str]
    tell: Tell


def make_corpus(order: Order, tell: Tell, environment: Mapping[str, str]) -> Made:
    """Make it, or go on with it, in `order.out`.

    environment: of further processes. tell: hears where it is.

    Raises:
        BadCorpus: a source, a bound, or another corpus in the folder; what is whole stays, and the same order goes on.
        InvalidTokenizer: there is no tokenizer where the order says.
        OSError: a source cannot be read.
    """
    files = source_files(order.sources)
    making = _Making(order, files, Ids.named(order.tokenizer), environment, tell)
    plan = plan_shards(files, order.rules, _cut(making), tell)
    planned = (*plan.shards, *plan.held_out)
    _require_ours(order.out, making.ids, plan)
    try:
        order.out.mkdir(parents=True, exist_ok=True)
        return _made(making, plan, {each.name: each for each in planned})
    except OSError as error:
        where = error.filename or order.out
        raise CannotMake(
            f"{where}: {error.strerror or error}; what is whole stays, and the same command goes on"
        ) from None


def _cut(making: _Making) -> Cut:
    order = making.order
    texts = (each.text for path in making.files for each in documents_in(path, order.rules))
    size, tokens = bytes_per_token(texts, making.ids, SAMPLE_BYTES)
    return Cut(
        max(1, order.shard_tokens * size // tokens),
        order.held_out_millionths,
        order.is_keeping_duplicates,
    )


def _require_ours(out: Path, ids: Ids, plan: Plan) -> None:
    """Raises CannotMake: a finished corpus of other text or tokens is there."""
    if not (out / MANIFEST).exists():
        return
    there = read_manifest(out)
    texts = [each.text for each in (*there.shards, *there.held_out)]
    ours = [each.text for each in (*plan.shards, *plan.held_out)]
    if texts != ours or there.tokenizer != ids.digest:
        what = "other text" if texts != ours else "tokens of another tokenizer"
        raise CannotMake(
            f"{out} holds a finished corpus of {what} ({there.digest}); name another folder, or remove that one"
        )


def _made(making: _Making, plan: Plan, planned: dict[str, Planned]) -> Made:
    out, order = making.order.out, making.order
    for name in strays(out, set(planned)):
        (out / name).unlink()  # of an attempt with other settings, which no manifest names
    shards: dict[str, Shard] = {}
    for number, (name, each) in enumerate(planned.items()):
        making.tell(f"looking at what is there: {number} of {counted(len(planned), 'shard')}")
        there = _there(out / name, each, making.ids)
        if there is not None:
            shards[name] = there
    num_kept = len(shards)
    missing = [each for name, each in planned.items() if name not in shards]
    tokens = sum(each.tokens for each in shards.values())
    for name, shard in _each_made(making, missing):
        shards[name] = shard
        tokens += shard.tokens
        making.tell(f"{len(shards)} of {counted(len(planned), 'shard')}, {tokens:,} tokens")
    manifest = CorpusManifest(
        form=1,
        tokenizer=making.ids.digest,
        vocabulary=making.ids.vocabulary,
        license=order.license,
        source=order.source,
        held_out_millionths=order.held_out_millionths,
        counts=plan.counts,
        shards=tuple(shards[each.name] for each in plan.shards),
        held_out=tuple(shards[each.name] for each in plan.held_out),
    )
    if list(shard_names(manifest)) != list(planned):
        raise CannotMake("the names of shards are not those that were planned; this is a defect")
    write_manifest(out, manifest)
    return Made(manifest, len(missing), num_kept)


def _there(path: Path, planned: Planned, ids: Ids) -> Shard | None:
    """What a manifest says of the file, if it is the one that was planned, and whole."""
    try:
        header = open_shard(path).header
    except (FileNotFoundError, BadShard):
        return None
    is_it = (header.text, header.tokenizer) == (planned.text, ids.digest)
    if not is_it or not is_whole(path, header):
        return None
    return shard_of(path, header.documents, header.tokens, header.text)


def _each_made(making: _Making, missing: list[Planned]) -> Iterator[tuple[str, Shard]]:
    """(name, shard) as they come."""
    order = making.order
    count = min(order.processes, len(missing))
    if count <= 1:
        for each in missing:
            making.tell(f"making {each.name}")
            yield each.name, make_shard(_task(making, each), making.files, order.rules, making.ids)
        return
    setup: dict[str, Any] = {
        "tokenizer": order.tokenizer,
        "files": [str(path.absolute()) for path in making.files],
        "rules": {"documents": order.rules.documents, "field": order.rules.field},
    }
    with ChildLines(count, setup, making.environment) as lines, ThreadPoolExecutor(count) as pool:
        try:
            pending: dict[Future[Shard], str] = {
                pool.submit(lines.make, _task(making, each)): each.name for each in missing
            }
            while pending:
                done, _ = wait(pending, timeout=TELL_EVERY_S, return_when=FIRST_COMPLETED)
                making.tell(f"{counted(len(pending), 'shard')} to make, {count} at a time")
                for future in done:
                    yield pending.pop(future), future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            lines.close()
            raise


def _task(making: _Making, planned: Planned) -> Task:
    return Task(making.order.out.absolute() / planned.name, tuple(planned.places), planned.text)
