"""How mirrored labs stand, in words for people."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from archipel.plurals import counted


def whole_words(view: Mapping[str, Any]) -> str:
    """Up to where the mirror is whole, if that is not its newest entry."""
    complete = view.get("complete", 0)
    if complete == view["entries"] or not view["blobs"]["wanted"]:
        return ""
    return f" (all of them up to entry {complete})" if complete else " (never yet all of them)"


def mirror_lines(mirrors: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each mirror, and one for each fault of its lab that is not over."""
    from archipel.records.mirror_documents import STANDINGS

    for each in mirrors:
        blobs = each["blobs"]
        reason = f" ({each['reason']})" if each["reason"] else ""
        yield (
            f"mirror {each['name']}: {counted(each['entries'], 'entry', 'entries')}, {blobs['kept']} of "
            f"{counted(blobs['wanted'], 'blob')}{whole_words(each)}; the lab {STANDINGS[each['standing']]}{reason}"
        )
        if each.get("continued"):
            yield f"  {each['continued']}"
        for fault in each["faults"]:
            kept = f"; evidence/{fault['evidence']}" if fault["evidence"] else ""
            over = "; it caught up since" if fault["over_ms"] is not None else ""
            yield f"  {fault['kind']}: {fault['words']}{kept}{over}"
