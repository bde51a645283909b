"""What a disturbed world left behind, read from its disks and its stores as anybody could."""

from archipel.bench.site import Site
from archipel.cli.ledger_checked import HEAD_FILE
from archipel.identity import Identity
from archipel.lab.entry import read_entry
from archipel.lab.garbage import needed
from archipel.lab.recovery import pages, replay
from archipel.ledger.location import read_log
from archipel.ledger.verification import lab_key
from faults.evidence import Evidence
from faults.stores import Store, lost
from faults.watching import last_traceback, logged_as_accepted


def left_behind(site: Site, store: Store, leader: str) -> Evidence:
    """leader: the lab whose home holds the newest head."""
    home = site.home(leader)
    did = Identity.load(home / "lab.key").did
    log = read_log(store.ledger or home / "ledger.sqlite", lab_key(did), home / HEAD_FILE)
    log.verify()
    entries = list(pages(log))
    log.close()
    state = replay(did, entries)
    agents = [path.parent for path in site.folder.glob("*/log.jsonl")]
    outputs = [*site.folder.glob("*.out"), *site.folder.glob("*/child.log")]
    said = {str(each.relative_to(site.folder)): last_traceback(each) for each in outputs}
    return Evidence(
        entries=entries,
        history=[read_entry(each).statement for each in entries],
        state=state,
        accepted={site.did(each.name): logged_as_accepted(each / "log.jsonl") for each in agents},
        lost_blobs=lost(store.blobs(home), needed(state)),
        tracebacks={name: line for name, line in said.items() if line is not None},
    )
