"""Entries that lines of a trace name, each as a file that shows where it stands under the bundle's head."""

from collections.abc import Iterable
from pathlib import Path

from archipel.ledger.merkle import inclusion_proof
from archipel.ledger.proof_file import proof_text, shown
from archipel.release.trace.told import Told, Untraceable

MAX_PROOFS = 20_000
"""Written by one call."""


def write_proofs(told: Told, entries: Iterable[int], folder: Path) -> int:
    """`<entry>.tlog-proof` and `<entry>.entry` for each; how many. Each was checked as a stranger would.

    Raises:
        Untraceable: too many of them. BadProof: a tile of the ledger is damaged. OSError: the disk.
    """
    chosen, head = sorted(set(entries)), told.head
    if len(chosen) > MAX_PROOFS:
        raise Untraceable(
            f"{len(chosen)} entries are named, and at most {MAX_PROOFS} proofs are written at a time; the whole ledger "
            "in the bundle shows them all"
        )
    folder.mkdir(parents=True, exist_ok=True)
    nodes = told.mirror.nodes()
    for index in chosen:
        told.tell(f"proof of entry {index}")
        entry = told.mirror.entry(index)
        proof = proof_text(index, inclusion_proof(index, head.size, nodes), head.note)
        shown(proof, entry, told.mirror.key)
        (folder / f"{index}.tlog-proof").write_bytes(proof)
        (folder / f"{index}.entry").write_bytes(entry)
    return len(chosen)
