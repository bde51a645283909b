"""Which key each lab had when this machine first spoke to it, as SSH remembers its hosts.

Law: a lab that answers at a known address with another key is not spoken to, until the operator of
this machine names the new key. What it does not show: that the first key was the right one; whoever
wants to know names it with the first joining.
"""

import time
from pathlib import Path

from archipel.node.patience import NodeFailed
from archipel.node.small_files import Unreadable, read_json, write_json

FILE = "known_labs.json"
MAX_LABS = 10_000


def check_lab(home: Path, url: str, lab: str, named: str | None) -> None:
    """Remember the lab at `url`, or compare it with what is remembered.

    named: the key that the operator expects there; it replaces what is remembered.

    Raises:
        NodeFailed: it has another key. OSError: the file cannot be read or written.
    """
    path = home / FILE
    known = known_labs(home)
    if named is not None and named != lab:
        raise NodeFailed(f"the lab at {url} is {lab}; expected {named}, as --lab-key says")
    before = known.get(url)
    if before is not None and before != lab and named is None:
        raise NodeFailed(
            f"the lab at {url} now has another key: {lab}; this machine knows it as {before}. "
            "It may be another lab, or somebody in between. If whoever runs it confirms the new key, "
            f"join with --lab-key {lab}"
        )
    if before == lab:
        return
    if len(known) >= MAX_LABS:
        raise NodeFailed(f"{path} holds {len(known)} labs; remove those that are gone")
    seen = {each: {"lab": key} for each, key in known.items()}
    write_json(path, seen | {url: {"lab": lab, "since_s": int(time.time())}})


def known_labs(home: Path) -> dict[str, str]:
    """Address -> the key of the lab there.

    Raises:
        NodeFailed: the file is damaged; as if nothing had been known is not how to go on.
        OSError: it cannot be read.
    """
    path = home / FILE
    try:
        read = read_json(path) or {}
        return {url: str(entry["lab"]) for url, entry in read.items()}
    except (Unreadable, KeyError, TypeError) as error:
        raise NodeFailed(
            f"the labs that this machine knows cannot be read ({error}); to know none, delete {path}"
        ) from None
