"""Removing what nobody needs: whole blobs that are not live, partial ones that nobody fills.

Law: a blob younger than the grace stays, whoever asks, because the record that makes it live may
still be on its way; a partial file that a writer holds stays. Every step removes one file, so a
kill at any moment leaves a store, and a reader that has a file open reads it to its end.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from archipel.blobs.account import Account, Usage

Live = Collection[str] | Callable[[str], bool]
"""Digests of blobs that must stay, or the question whether one must."""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What was removed."""

    num_whole: int
    num_partial: int
    num_bytes: int


def sweep(
    account: Account, live: Live, *, now_s: float, older_than_s: float, idle_s: float
) -> SweepReport:
    """Walk the store once; what each age means says `BlobStore.sweep`."""
    is_live = live if callable(live) else live.__contains__
    whole_before_s, partial_before_s = now_s - older_than_s, now_s - idle_s
    since = account.changes()
    freed: dict[str, list[int]] = {"whole": [], "partial": []}
    seen = {"whole": 0, "partial": 0}
    for digest, state in account.layout.whole_files():
        seen["whole"] += state.st_size
        if state.st_mtime < whole_before_s and not is_live(digest):
            size = account.remove_whole(account.layout.final(digest), whole_before_s)
            freed["whole"] += [] if size is None else [size]
    for path, state in account.layout.partial_files():
        seen["partial"] += state.st_size
        if state.st_mtime < partial_before_s:
            size = account.remove_partial(path, partial_before_s)
            freed["partial"] += [] if size is None else [size]
    left = {kind: seen[kind] - sum(freed[kind]) for kind in seen}
    num_whole, num_partial = len(freed["whole"]), len(freed["partial"])
    account.correct(Usage(left["whole"], left["partial"]), since + num_whole + num_partial)
    return SweepReport(num_whole, num_partial, sum(freed["whole"]) + sum(freed["partial"]))
