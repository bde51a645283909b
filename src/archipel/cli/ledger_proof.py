"""`archipel ledger prove` and `check-proof`: one entry of a ledger, shown without the rest of it."""

from pathlib import Path

import click

from archipel.cli.doors import Mendable, mending, show
from archipel.cli.lab_door import EXPECT, JSON

MIRROR = click.argument(
    "folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False)
)


@click.command()
@MIRROR
@click.argument("index", type=click.IntRange(0))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the two files.",
)
@JSON
def prove(folder: Path, index: int, out: Path, as_json: bool) -> None:
    """Write entry INDEX of the mirror in DIR, and the proof that it stands there, as two small files.

    \b
    Examples:
      archipel ledger prove lab-ledger 7 --out proof
      archipel ledger check-proof proof/7.tlog-proof proof/7.entry --expect did:key:z6Mk...
    """
    from archipel.cli.ledger_checked import mirror_in
    from archipel.ledger.merkle import inclusion_proof, leaf_hash, verify_inclusion
    from archipel.ledger.proof_file import proof_text
    from archipel.ledger.storage import LedgerError

    with mending(LedgerError, OSError, ValueError):
        kept, did = mirror_in(folder)
        if kept.head is None or index >= kept.size:
            raise Mendable(f"{folder} has {kept.size} entries, counted from 0; got {index}")
        entry, proof = kept.entry(index), inclusion_proof(index, kept.size, kept.nodes())
        verify_inclusion(leaf_hash(entry), index, kept.size, proof, kept.head.root)
        out.mkdir(parents=True, exist_ok=True)
        files = (out / f"{index}.tlog-proof", out / f"{index}.entry")
        files[0].write_bytes(proof_text(index, proof, kept.head.note))
        files[1].write_bytes(entry)
    told = {"lab": did, "index": index, "proof": str(files[0]), "entry": str(files[1])}
    show(told, as_json, lambda: f"entry {index} of {did}: {files[0]} and {files[1]}")


@click.command("check-proof")
@click.argument("proof", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("entry", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@EXPECT
@JSON
def check_proof(proof: Path, entry: Path, expect: str | None, as_json: bool) -> None:
    """Check that PROOF shows the bytes of ENTRY in a ledger that its lab signed. Needs nothing else.

    \b
    Example:
      archipel ledger check-proof proof/7.tlog-proof proof/7.entry --expect did:key:z6Mk...
    """
    from archipel.cli.ledger_checked import expected
    from archipel.cli.ledger_reader import did_of
    from archipel.ledger.merkle import BadProof
    from archipel.ledger.proof_file import MAX_PROOF_BYTES, shown
    from archipel.ledger.storage import LedgerError
    from archipel.ledger.tiles import MAX_ENTRY_BYTES
    from archipel.ledger.verification import lab_key

    with mending(LedgerError, OSError, BadProof):
        data, told = _read(proof, MAX_PROOF_BYTES), _read(entry, MAX_ENTRY_BYTES)
        origin = data.partition(b"\n\n")[2].partition(b"\n")[0].decode("utf-8", "replace")
        did = expected(did_of(origin, str(proof)), expect)
        index, head = shown(data, told, lab_key(did))
    facts = {"lab": did, "index": index, "entries": head.size, "holds": True}
    text = f"holds: {entry} is entry {index} of the {head.size} that {did} signed"
    show(facts, as_json, lambda: text)


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Mendable(f"{path} has more than {limit} bytes, which none of its kind has")
    return data
