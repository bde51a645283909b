"""`archipel ledger witness`: sign what labs show, and never two histories of one."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import KeyName, Mendable, home_folder, mending
from archipel.cli.last_deadline import PAGES_S, last_deadline

if TYPE_CHECKING:
    from archipel.ledger.mirror import Mirror
    from archipel.ledger.signed_note import NoteKey

DEFAULT_PORT = 8441
REQUEST_LIMIT_S = 30.0
MAX_REPLY_BYTES = 65_536
CONFLICT, OK = 409, 200


@click.command()
@click.argument("labs", metavar="DID...", nargs=-1, required=True, type=KeyName())
@click.option(
    "--name", required=True, help="The witness's name, such as w.example: part of its key."
)
@click.option(
    "--home", type=click.Path(path_type=Path), help="Key and memory [~/.archipel/witness]."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on.",
)
def witness(labs: tuple[str, ...], name: str, home: Path | None, host: str, port: int) -> None:
    """Be a witness of these labs' ledgers: sign each checkpoint that goes on from the last (c2sp.org/tlog-witness).

    Prints its key line, which whoever relies on it names. It remembers what it signed before it answers, so it never
    signs two histories, whenever it is killed. Run one on another machine than the lab, by another operator.

    \b
    Example:
      archipel ledger witness did:key:z6Mk... --name w.example
    """
    from archipel.cli.keys import load_or_make_key
    from archipel.identity import IdentityError
    from archipel.lab.witness_door import witness_server
    from archipel.ledger.signed_note import BadNote
    from archipel.ledger.storage import LedgerError
    from archipel.ledger.verification import lab_key
    from archipel.ledger.witness import Witness

    folder = home_folder("witness", home)
    with mending(IdentityError, LedgerError, BadNote, OSError):
        identity = load_or_make_key(folder / "witness.key")
        keys = {key.name: key for key in map(lab_key, labs)}
        sworn = Witness(folder / "signed", name, identity, keys, lambda: int(time.time()))
    try:
        click.echo(f"{sworn.key.to_text()}")
        click.echo(f"witness at http://{host}:{port}, of {len(keys)} ledgers", err=True)
        server = witness_server(sworn, host, port)
        server.when_told = last_deadline(PAGES_S)
        server.run()
    except SystemExit:
        raise Mendable(
            f"cannot listen on {host}:{port}; is something there already? (--port)"
        ) from None
    finally:
        sworn.close()


def ask_witness(kept: "Mirror", url: str, key: "NoteKey") -> str:
    """Have a mirror's checkpoint signed; says what came of it.

    Raises:
        LedgerError: what was signed cannot be kept.
    """
    from archipel.ledger.cosignature import cosigned_at
    from archipel.ledger.signed_note import BadNote

    head = kept.head
    if head is None:
        return f"{key.name}: there is no checkpoint yet"
    status, said = _post(kept, url, 0)
    if status == CONFLICT and re.fullmatch(r"[0-9]{1,19}\n", said) and int(said) <= kept.size:
        status, said = _post(kept, url, int(said))
    if status != OK:
        return f"{key.name}: not signed, it answered {status}: {said.strip()[:200]!r}"
    note = head.note + said.encode()
    try:
        at_s = cosigned_at(note, key)
    except BadNote as error:
        return f"{key.name}: what it answered is no signature of its own: {error}"
    kept.keep_cosigned(key.name, note)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))
    return f"{key.name}: signed {kept.size} entries at {at}"


def _post(kept: "Mirror", url: str, old_size: int) -> tuple[int, str]:
    """(status, body); 0 when there is no answer."""
    import httpx

    from archipel.ledger.merkle import consistency_proof
    from archipel.ledger.witness import submission

    head = kept.head
    proof = tuple(consistency_proof(old_size, kept.size, kept.nodes())) if old_size else ()
    body = submission(old_size, proof, head.note if head else b"")
    try:
        place = f"{url.rstrip('/')}/add-checkpoint"
        with httpx.stream("POST", place, content=body, timeout=REQUEST_LIMIT_S) as answer:
            data = b""
            for part in answer.iter_bytes():
                data += part
                if len(data) > MAX_REPLY_BYTES:
                    return 0, "an answer too long for any witness"
            return answer.status_code, data.decode("utf-8", "replace")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return 0, f"no answer from {url}: {error or type(error).__name__}"
