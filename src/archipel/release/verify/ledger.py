"""Steps 4 and 5: the bundled ledger's tree, heads, witnesses and proofs; then every transition, replayed."""

from itertools import islice

from archipel.identity import IdentityError
from archipel.lab.apply import Contradiction
from archipel.lab.recovery import replayed
from archipel.lab.withdrawals import withdrawals
from archipel.ledger.cosignature import cosigned_at
from archipel.ledger.merkle import BadProof, Frontier, leaf_hash
from archipel.ledger.mirror import WITNESSES, Mirror, verified
from archipel.ledger.proof_file import MAX_PROOF_BYTES, shown
from archipel.ledger.signed_note import COSIGNATURE, MAX_NOTE_BYTES, BadNote, NoteKey
from archipel.ledger.storage import LedgerError
from archipel.ledger.tiles import MAX_ENTRY_BYTES
from archipel.ledger.tree_head import BadTreeHead, verify_tree_head
from archipel.ledger.verification import lab_key
from archipel.market.journal import listening
from archipel.plurals import counted
from archipel.records.statements import InvalidRecord
from archipel.release import places
from archipel.release.hearing import Hearing
from archipel.release.index import Released
from archipel.release.verify.claims import look_at_claims
from archipel.release.verify.files import read_bounded
from archipel.release.verify.report import Looked, Step

_FAULTS = (LedgerError, IdentityError, BadNote, BadTreeHead, BadProof, OSError, ValueError)


def look_at_tree(looked: Looked) -> None:
    """4. Every entry leads to the root that the lab signed; proofs and witnesses' signatures are of this tree."""
    step, index = looked.step("ledger: tree, head, witnesses"), looked.index
    if index is not None and looked.expected.lab not in (None, index.lab):
        step.fault(f"this is a release of the lab {index.lab}; expected {looked.expected.lab}")
    if index is None or not _is_there(looked):
        step.unshown.append("the ledger: it does not lie in this bundle")
        if looked.expected.lab is not None or looked.expected.witnesses:
            step.fault("the lab or a witness was named, and no ledger lies here that they signed")
        return
    try:
        mirror = Mirror(looked.folder / places.LEDGER, lab_key(index.lab))
        for _ in verified(mirror):
            pass
    except _FAULTS as error:
        step.fault(_short(looked, error))
        return
    head = mirror.head
    if head is None:
        step.fault(f"{places.LEDGER}/checkpoint is missing")
        return
    said = (index.origin, index.tree_size, index.tree_root)
    if said != (head.origin, head.size, f"sha256:{head.root.hex()}"):
        step.fault(
            f"{places.INDEX} names {index.tree_size} entries under {index.tree_root}; the ledger's head is over "
            f"{head.size} under sha256:{head.root.hex()}"
        )
    looked.head = head
    proven = _look_at_proofs(looked, index, step)
    _look_at_witnesses(looked, mirror, step)
    if not step.faults:
        step.shown.append(
            f"{counted(head.size, 'entry', 'entries')} under one head of {index.lab}; {counted(proven, 'proof')}"
        )
    step.unshown.append(
        "that the lab shows everybody this ledger: compare its head with others', or a witness's signature"
    )


def look_at_transitions(looked: Looked) -> None:
    """5. Every entry is signed by its author and follows; balances come to zero; the run kept its own rules."""
    step, index = looked.step("ledger: every transition replayed"), looked.index
    if index is None or not _is_there(looked) or looked.steps[-2].faults:
        step.unshown.append("no transition was replayed: there is no ledger that holds")
        return
    heard = Hearing(index.run)
    mirror = Mirror(looked.folder / places.LEDGER, lab_key(index.lab))

    def hear(entry: object) -> None:
        heard.hear(entry)  # type: ignore[arg-type]  # what `replayed` tells
        looked.tell(f"entry {heard.size} of {index.tree_size}")

    try:
        with listening(heard.post):
            found = replayed(index.lab, mirror.entries(), hear)
    except (Contradiction, InvalidRecord, *_FAULTS) as error:
        step.fault(f"entry {heard.size}: {error!s:.300}")
        return
    looked.state, looked.heard = found.state, heard
    heard.story.withdrawn = withdrawals(found.state, index.run)
    if total := sum(found.state.book.values()):
        step.fault(f"all accounts together hold {total} micro-credits; expected 0")
    try:
        for fault in heard.story.faults():
            step.fault(fault)
    except ValueError as error:  # no such run, or one of another programme
        step.fault(f"{error!s:.300}")
        return
    look_at_claims(looked, heard, step)
    if not step.faults:
        step.shown.append(
            f"{counted(heard.size, 'entry', 'entries')}, {counted(len(heard.story.updates), 'version')}, "
            f"{counted(len(heard.story.results), 'result')}; {len(found.state.book)} accounts come to 0"
        )


def _look_at_proofs(looked: Looked, index: Released, step: Step) -> int:
    """How many hold."""
    num, key = 0, lab_key(index.lab)
    for path in looked.files:
        name, dot, kind = path.rpartition(".")
        if not path.startswith(f"{places.PROOFS}/") or kind != "tlog-proof" or not dot:
            continue
        try:
            proof = read_bounded(looked.folder / path, MAX_PROOF_BYTES)
            entry = read_bounded(looked.folder / f"{name}.entry", MAX_ENTRY_BYTES)
            at, head = shown(proof, entry, key)
        except _FAULTS as error:
            step.fault(f"{path}: {_short(looked, error)}")
            continue
        if str(at) != name.rpartition("/")[2] or head.size != index.tree_size:
            step.fault(f"{path} proves entry {at} of {head.size}, which is not what its name says")
        elif f"sha256:{head.root.hex()}" != index.tree_root:
            step.fault(f"{path}: the lab signed another history of as many entries; keep both")
        num += 1
    return num


def _look_at_witnesses(looked: Looked, mirror: Mirror, step: Step) -> None:
    keys: dict[str, NoteKey] = {}
    for line in looked.expected.witnesses:
        key = NoteKey.from_text(line)
        if key.kind != COSIGNATURE:
            step.fault(f"{key.name} is no witness's key")
        keys[key.name] = key
    roots: dict[int, bytes] = {}
    for path in looked.files:
        if not path.startswith(f"{places.LEDGER}/{WITNESSES}/"):
            continue
        name = path.rpartition("/")[2].removesuffix(".note")
        if name not in keys:
            step.unshown.append(
                f"the signature of the witness {name}: give its key line (--witness)"
            )
            continue
        try:
            note = read_bounded(looked.folder / path, MAX_NOTE_BYTES)
            head = verify_tree_head(note, mirror.key)
            at_s = cosigned_at(note, keys.pop(name))
        except _FAULTS as error:
            step.fault(f"{path}: {_short(looked, error)}")
            continue
        if head.size > mirror.size:
            step.fault(
                f"{path}: the witness {name} signed {head.size} entries, more than lie here: bring the whole ledger"
            )
        elif _root_at(head.size, mirror, roots) != head.root:
            step.fault(
                f"{path}: the witness {name} signed another history; keep both, they are the proof"
            )
        else:
            step.shown.append(f"the witness {name} signed {head.size} entries at {at_s} s (Unix)")
    for name in keys:
        step.fault(f"the witness {name} has signed nothing that lies here")


def _root_at(size: int, mirror: Mirror, known: dict[int, bytes]) -> bytes:
    """Of the first entries; what was computed is kept in `known`."""
    if size not in known:
        leaves = [leaf_hash(entry) for entry in islice(mirror.entries(), size)]
        known[size] = Frontier().extended(leaves).root()
    return known[size]


def _is_there(looked: Looked) -> bool:
    return any(each.startswith(f"{places.LEDGER}/") for each in looked.files)


def _short(looked: Looked, error: Exception) -> str:
    """Its sentence, with paths as the bundle has them."""
    said = str(error) or type(error).__name__
    return said.replace(f"{looked.folder}/", "")[:400]
