"""Removing what nobody needs: whole blobs that are not live, partial ones that nobody fills.

Law: a blob younger than the grace stays, whoever asks, because the record that makes it live may
still be on its way; a partial file that a writer holds stays. Every step removes one file, so a
kill at any moment leaves a store, and a reader that has a file open reads it to its end.
"""

import os
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from archipel.blobs.account import Account, Usage
from archipel.blobs.layout import locked

Live = Collection[str] | Callable[[str], bool]
"""Digests of blobs that must stay, or the question whether one must."""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What was removed, or would be."""

    num_whole: int
    num_partial: int
    num_bytes: int


def sweep(
    account: Account, live: Live, *, now_s: float, older_than_s: float, idle_s: float, dry: bool
) -> SweepReport:
    """Walk the store once; what each age means says `BlobStore.sweep`."""
    remove_whole = _whole_bytes if dry else account.remove_whole
    remove_partial = _partial_bytes if dry else account.remove_partial
    is_live = live if callable(live) else live.__contains__
    whole_before_s, partial_before_s = now_s - older_than_s, now_s - idle_s
    since = account.changes()
    freed: dict[str, list[int]] = {"whole": [], "partial": []}
    seen = {"whole": 0, "partial": 0}
    for digest, state in account.layout.whole_files():
        seen["whole"] += state.st_size
        if state.st_mtime < whole_before_s and not is_live(digest):
            size = remove_whole(account.layout.final(digest), whole_before_s)
            freed["whole"] += [] if size is None else [size]
    for path, state in account.layout.partial_files():
        seen["partial"] += state.st_size
        if state.st_mtime < partial_before_s:
            size = remove_partial(path, partial_before_s)
            freed["partial"] += [] if size is None else [size]
    if dry:
        return _report(freed)
    left = {kind: seen[kind] - sum(freed[kind]) for kind in seen}
    report = _report(freed)
    num_changes = since + report.num_whole + report.num_partial
    account.correct(Usage(left["whole"], left["partial"]), num_changes)
    return report


def _report(freed: dict[str, list[int]]) -> SweepReport:
    sizes = (*freed["whole"], *freed["partial"])
    return SweepReport(len(freed["whole"]), len(freed["partial"]), sum(sizes))


def _whole_bytes(final: Path, before_s: float) -> int | None:
    """What `Account.remove_whole` would say."""
    with suppress(FileNotFoundError):
        state = final.stat()
        return state.st_size if state.st_mtime < before_s else None
    return None


def _partial_bytes(path: Path, before_s: float) -> int | None:
    """What `Account.remove_partial` would say."""
    with suppress(FileNotFoundError):
        file = locked(path)
        if file is not None:
            with file:
                state = os.fstat(file.fileno())
                return state.st_size if state.st_mtime < before_s else None
    return None
