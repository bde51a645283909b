"""`archipel lab succeed`: a ledger that goes on under another lab's key, from a mirror alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.clock import clock_ms
from archipel.cli.doors import Mendable, at_work, home_folder, mending, show
from archipel.cli.keys import load_key, load_or_make_key, name_of_key
from archipel.cli.lab_door import JSON
from archipel.cli.lab_succeed_head import Mirrored, left_out, left_out_words, mirrored
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.identity import Identity
    from archipel.lab.backups import Copied
    from archipel.lab.state import LabState
    from archipel.lab.succession import Judged
    from archipel.records.membership import Signed

BLOBS = "blobs"
MAX_AGREEMENT_BYTES = 4096
FOLDER = click.argument(
    "folder", metavar="MIRROR", type=click.Path(path_type=Path, exists=True, file_okay=False)
)


@click.command()
@FOLDER
@click.option(
    "--home",
    required=True,
    type=click.Path(path_type=Path),
    help="The new lab's folder. Its lab.key is made if it is not there.",
)
@click.option(
    "--agreement",
    "agreements",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="What `archipel lab agree` wrote; as many as there are.",
)
@click.option(
    "--why", "reason", default="", help="For everybody who reads the ledger, in a sentence."
)
@click.option(
    "--as-far-as",
    type=click.IntRange(1),
    metavar="N",
    help="Take over these N entries and no others, whatever a witness signed and whichever blobs are missing.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go on and what not; write nothing.")
@JSON
def succeed(
    folder: Path,
    home: Path,
    agreements: tuple[Path, ...],
    reason: str,
    as_far_as: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Continue another lab's ledger, from a mirror of it alone: for a lab that died, or refuses. Not with its key.

    Its own key must be one that the lab named while it was alive (`lab name-successors`), or that the charter of a run names, or
    owners of more than half of a run's shares agreed (`lab agree`). Runs that nobody let go on are stopped; balances stay.
    MIRROR is what `archipel ledger mirror` makes, with blobs beside it, or a collected folder. Where the newest head lacks blobs, the
    newest of which all are there is continued, and what that leaves out is told. Then: `archipel lab start --home DIR`.

    \b
    Examples:
      archipel operator new --key /srv/next/lab.key
      archipel lab succeed mirrors/first --home /srv/next --why "its machine burned down"
      archipel lab succeed mirrors/first --home /srv/next --agreement anna.json --agreement ben.json
    """
    from archipel.lab import backups
    from archipel.lab.parted import Parted
    from archipel.lab.taking_over import entry_of, succession_of, take_over

    with took_in():
        target = home_folder("lab", home, make=not dry_run)
        identity, operator = _keys(target, dry_run)
        signed = [_agreement(path) for path in agreements]
        found = mirrored(folder, as_far_as, target / BLOBS, _agreed_size(signed))
        head = found.checked.head
        said = succession_of(identity, found.checked.did, head, (operator,), reason, signed)
        entry = entry_of(identity, said, clock_ms())
        after, verdict = _judged(found, entry)
        needs = Parted(backups.Kept(found.blobs)).needed(after)
        copied, missing = None, backups.lacking((found.blobs, target / BLOBS), needs)
        if not dry_run:
            at_work("writing the ledger")
            copied = backups.copy_blobs(found.blobs, target / BLOBS, needs)
            if not _is_taken_over(target, identity, said.root):
                take_over(target, identity, found.entries(), entry)
    told = _told(target, found, verdict, copied, identity)
    told |= {"missing": list(missing), "left_out": left_out(found)}
    show(told, as_json, lambda: "\n".join(_words(told, found.blobs)))


def _keys(home: Path, dry_run: bool) -> "tuple[Identity, str]":
    """The successor's key and its operator's did, made where they are missing; a dry run makes none.

    Raises Mendable: it would have to make the key that somebody was to name before.
    """
    own, operator = home / "lab.key", home / "operator.key"
    if not dry_run:
        return load_or_make_key(own), name_of_key(operator, make=True)
    if not own.exists():
        raise Mendable(
            f"there is no {own}, and --dry-run makes none; lay the key there that was named as the successor, "
            f"or make one: archipel operator new --key {own}"
        )
    identity = load_key(own)
    return identity, name_of_key(operator) if operator.exists() else identity.did


def _judged(found: Mirrored, entry: Any) -> "tuple[LabState, Judged]":
    """The state after the succession, and which runs go on. Raises ValueError, Contradiction: not enough agreed."""
    from archipel.lab.entry import read_entry
    from archipel.lab.recovery import check_lab
    from archipel.lab.retelling import retold
    from archipel.lab.succession import judged, signers

    check_lab(found.state, found.checked.did)
    said = read_entry(entry.to_bytes()).statement  # as everybody will read it: every signature
    after, _ = retold(found.state, entry)
    return after, judged(found.state, signers(said))  # type: ignore[arg-type]  # what we made


def _is_taken_over(home: Path, identity: "Identity", root: str) -> bool:
    """Whether this home continues this very prefix already; then only blobs are taken that were missing.

    Raises Mendable: it holds another ledger.
    """
    from archipel.cli.ledger_checked import LEDGER_FILE, stored_state
    from archipel.lab.entry import read_entry

    if not (home / LEDGER_FILE).exists():
        return False
    state = stored_state(str(home / LEDGER_FILE), None, None).found.state
    from archipel.ledger.location import read_log
    from archipel.ledger.verification import lab_key

    log = read_log(home / LEDGER_FILE, lab_key(state.lab))
    try:
        if state.lab == identity.did and state.succeeded:
            said = read_entry(log.read(state.succeeded[-1].entry, 1)[0]).statement
            if getattr(said, "root", None) == root:
                return True
    finally:
        log.close()
    raise Mendable(
        f"{home} holds the ledger of {state.lab} already; continue another one in a folder of its own"
    )


def _agreed_size(signed: "Sequence[Signed]") -> int | None:
    """Entries that agreements are over: a succession from elsewhere on is none that they agreed to."""
    from archipel.records.membership import read_signed
    from archipel.records.succession import Agreement

    return read_signed(Agreement, signed[0]).size if signed else None


def _agreement(path: Path) -> "Signed":
    from archipel.records.membership import signed_from

    with path.open("rb") as file:
        data = file.read(MAX_AGREEMENT_BYTES + 1)
    if len(data) > MAX_AGREEMENT_BYTES:
        raise Mendable(f"{path} has more than {MAX_AGREEMENT_BYTES} bytes, which no agreement has")
    try:
        return signed_from(data)
    except ValueError as error:
        raise Mendable(
            f"{path} is no agreement: {error}; make one with `archipel lab agree`"
        ) from None


def took_in() -> Any:
    """What a mirror, a home or an agreement can be wrong in becomes a sentence."""
    from archipel.blobs import BlobError
    from archipel.identity import IdentityError
    from archipel.lab.apply import Contradiction
    from archipel.lab.backups import BadBackup
    from archipel.ledger.storage import LedgerError

    return mending(
        BadBackup, BlobError, Contradiction, IdentityError, LedgerError, OSError, ValueError
    )


def _told(
    home: Path,
    found: Mirrored,
    verdict: "Judged",
    copied: "Copied | None",
    identity: "Identity",
) -> dict[str, Any]:
    return {
        "home": str(home),
        "lab": identity.did,
        "predecessor": found.checked.did,
        "entries": found.checked.head.size,
        "goes_on": list(verdict.goes_on),
        "stops": dict(verdict.stops),
        "written": copied is not None,
        "blobs": None if copied is None else copied.blobs,
    }


def _words(told: dict[str, Any], blobs: Path) -> Iterator[str]:
    begin = "continues" if told["written"] else "would continue"
    yield f"{told['lab']} {begin} {told['predecessor']} from {counted(told['entries'], 'entry', 'entries')} on"
    yield from (f"run {name} goes on" for name in told["goes_on"])
    yield from (f"run {name} is stopped: {why}" for name, why in told["stops"].items())
    yield from left_out_words(told["left_out"])
    missing = told["missing"]
    came = f"{counted(told['blobs'], 'blob')} copied, " if told["written"] else ""
    yield f"{came}{counted(len(missing), 'blob')} missing"
    yield from missing[:8]
    if len(missing) > 8:
        yield f"and {len(missing) - 8} more (--json names all)"
    if missing:
        yield (
            "a run that needs one of them stands until it is here: lay them into "
            f"{blobs} from another mirror's blobs and run this again; it takes what is missing"
        )
    if told["written"]:
        yield f"now: archipel lab start --home {told['home']}"
