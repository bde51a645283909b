"""`archipel trace --answer`: a text looked up in a release's own training data."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from archipel.cli.doors import Mendable, mending, show
from archipel.cli.telling import seldom
from archipel.cli.trace_words import answer_lines
from archipel.ledger.storage import LedgerError
from archipel.release.trace.answer import traced
from archipel.release.trace.corpus import corpus_of
from archipel.release.trace.kept_index import Kept, key_of, open_index, write_index
from archipel.release.trace.told import Untraceable, look, look_at_grounds
from archipel.release.verify.report import Expected, Looked


def look_up(folder: Path, text: str, as_json: bool, given: dict[str, Any]) -> None:
    """Show it. given: the command's options."""
    with ExitStack() as stack, mending(LedgerError, OSError, ValueError):
        held = _opened(folder, given, stack)
        began = time.monotonic()
        found = traced(text, held, given["least"], given["most"])
        took_s = time.monotonic() - began
        facts = found.to_dict() | {
            "bundle": str(folder),
            "corpus": held.digest,
            "corpus_bytes": len(held.data),
            "documents": len(held.documents),
            "left_out": list(held.left_out),
            "is": "accounting, not causation",
        }
        show(facts, as_json, lambda: "\n".join(answer_lines(found, held, took_s)))


def _opened(folder: Path, given: dict[str, Any], stack: ExitStack) -> Kept:
    """The index, made first if it is not kept."""
    expected, tell = Expected(given["expect"]), seldom()
    looked = Looked(folder, expected, tell)
    look_at_grounds(looked)
    if looked.index is not None and expected.lab not in (None, looked.index.lab):
        raise Untraceable(f"this is a release of {looked.index.lab}; expected {expected.lab}")
    cache = given["cache"] or folder.resolve().with_name(f"{folder.resolve().name}.trace")
    key = key_of(folder, looked.files)
    held = stack.enter_context(open_index(cache, key))
    if held is None:
        told = look(folder, expected, tell)
        with _keeping(cache):
            write_index(cache, key, corpus_of(told), tell)
        held = stack.enter_context(open_index(cache, key))
    if held is None:
        raise Mendable(f"{cache} does not keep what is written to it; choose another with --cache")
    return held


@contextmanager
def _keeping(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Mendable(
            f"cannot keep the index of the training data in {cache}: {error.strerror}; choose another place with --cache"
        ) from None
