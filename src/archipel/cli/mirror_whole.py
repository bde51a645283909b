"""`archipel ledger mirror --blobs`: a lab's ledger and the blobs that whoever continues it would need, in one folder."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archipel.cli.doors import Mendable, at_work, home_folder, mending, show
from archipel.cli.telling import beside
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.records.mirror_documents import MirrorView

GIB = 2**30


@dataclass(frozen=True)
class Whole:
    """What is kept, and where."""

    url: str
    folder: Path
    expect: str | None
    max_gb: float


def mirror_whole(what: Whole, every_s: float | None, as_json: bool) -> None:
    """Keep it up to date: once, or every so many seconds until Ctrl-C.

    Raises:
        Mendable: it cannot be had; or what the lab shows does not hold, and where the evidence lies.
    """
    from archipel.blobs import BlobError
    from archipel.cli.keys import load_or_make_key
    from archipel.cli.mirror_rounds import Mirrored, Rounds
    from archipel.cli.mirroring import begun
    from archipel.identity import IdentityError
    from archipel.lab.mirrors.seen_files import keep_seen
    from archipel.ledger.storage import LedgerError

    if (what.folder / "checkpoint").is_file():
        raise Mendable(
            f"{what.folder} is a mirror without blobs, and with them the ledger lies in {what.folder}/ledger; name "
            "another folder"
        )
    at_work("reading the ledger")
    with mending(IdentityError, LedgerError, BlobError, OSError, ValueError):
        what.folder.mkdir(parents=True, exist_ok=True)
        observer = load_or_make_key(home_folder("witness", None) / "witness.key")
        quota = int(what.max_gb * GIB)
        asked = Mirrored("mirror", what.url, what.folder, what.expect, quota)
        rounds = Rounds(asked, observer, beside)
        view = begun(what.folder, "mirror", what.url)
        rounds.resume(view)
        shown: dict[str, Any] | None = None
        while True:
            view = rounds.once(view)
            keep_seen(what.folder, view)
            told = _told(what.folder, view)
            if every_s is None and (view.since_ms or not view.answered_ms):
                raise Mendable(f"no mirror of {what.url}: {view.reason}")
            if told != shown:
                show(told, as_json, lambda told=told: _words(told))  # type: ignore[misc]
                shown = told
            if every_s is None:
                _refuse_faults(what.folder, view)
                return
            time.sleep(every_s)


def _refuse_faults(folder: Path, view: "MirrorView") -> None:
    """Raises Mendable: the lab did what no honest lab does."""
    for fault in view.faults:
        if fault.over_ms is None:
            kept = f"; evidence in {folder / 'evidence' / fault.evidence}" if fault.evidence else ""
            raise Mendable(f"the lab {fault.words}{kept}")


def _told(folder: Path, view: "MirrorView") -> dict[str, Any]:
    told = view.model_dump(
        include={"lab", "standing", "entries", "folded", "complete", "continued", "reason"}
    )
    blobs = view.blobs.model_dump()
    return {
        "mirror": str(folder),
        **told,
        "blobs": blobs,
        "faults": [each.model_dump() for each in view.faults],
    }


def _words(told: dict[str, Any]) -> str:
    from archipel.cli.mirror_words import whole_words
    from archipel.records.mirror_documents import STANDINGS

    blobs = told["blobs"]
    gone = f", {blobs['gone']} were gone already" if blobs["gone"] else ""
    unfit = f", {blobs['unfit']} do not fit (--max-gb)" if blobs["unfit"] else ""
    reason = f" ({told['reason']})" if told["reason"] else ""
    continued = f"\n{told['continued']}" if told["continued"] else ""
    return (
        f"{told['mirror']}: {counted(told['entries'], 'entry', 'entries')}, {blobs['kept']} of "
        f"{counted(blobs['wanted'], 'blob')}{whole_words(told)}{gone}{unfit}; the lab {STANDINGS[told['standing']]}{reason}{continued}"
    )
