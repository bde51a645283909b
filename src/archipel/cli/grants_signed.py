"""`archipel grants attest` and `permit`: what verifiers and grantees sign beforehand, without a network."""

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.clock import clock_ms
from archipel.cli.credits import Amount, credits_words
from archipel.cli.doors import KeyName, Mendable, home_folder, mending, show
from archipel.cli.lab_door import JSON
from archipel.cli.owners import KEY, own_key

if TYPE_CHECKING:
    from archipel.records.membership import Signed

DAY_MS = 86_400_000
MAX_FILE_BYTES = 4096
TAG_KEY = "tag.key"
LAB_DID = click.option(
    "--lab-did", required=True, type=KeyName(), metavar="DID", help="The lab it is for."
)
DAYS = click.option(
    "--days",
    default=365,
    show_default=True,
    type=click.IntRange(1, 400),
    help="Until when it holds.",
)


@click.command()
@click.argument("subject", metavar="DID", type=KeyName())
@click.option(
    "--person",
    prompt="what do you know this person by",
    metavar="TEXT",
    help="An address, a number, a name: it stays here [asked].",
)
@LAB_DID
@DAYS
@click.option(
    "--tag-key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="32 random bytes, made on first use; keep them, and share them with verifiers who may know the same persons "
    "[~/.archipel/verifier/tag.key].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("attestation.json"),
    show_default=True,
    help="File to write.",
)
@KEY
@JSON
def attest(
    subject: str,
    person: str,
    lab_did: str,
    days: int,
    tag_key: Path | None,
    out: Path,
    key: Path | None,
    as_json: bool,
) -> None:
    """Say, as a verifier, that the key DID is a person's: by a tag that tells nobody who that is.

    One person gets the same tag under whatever key, however its name is capitalised. Look at the person before you sign:
    a verifier that attests anybody gives its month away. Needs no network.

    \b
    Example:
      archipel grants attest did:key:z6Mk... --lab-did did:key:z6Mk... --key verifier.key
    """
    from archipel.market.attesting import person_tag, signed
    from archipel.records.grants import Attestation

    own, now_ms = own_key(key), clock_ms()
    tag = person_tag(_tag_key(tag_key or home_folder("verifier", None) / TAG_KEY), person)
    said = Attestation(
        lab=lab_did,
        verifier=own.did,
        subject=subject,
        person=tag,
        issued_ms=now_ms,
        until_ms=now_ms + days * DAY_MS,
    )
    _write(out, signed(own, said))
    facts = said.model_dump(mode="json") | {"file": str(out)}
    show(facts, as_json, lambda: f"{out}: {own.did} attests {subject}")


@click.command()
@click.argument("door", metavar="DID", type=KeyName())
@click.argument("micro", metavar="CREDITS", type=Amount())
@LAB_DID
@DAYS
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("permit.json"),
    show_default=True,
    help="File to write; the door's operator needs it.",
)
@KEY
@JSON
def permit(
    door: str, micro: int, lab_did: str, days: int, out: Path, key: Path | None, as_json: bool
) -> None:
    """Let the door DID charge what was granted to you, CREDITS at most in all. Needs no network.

    \b
    Example:
      archipel grants permit did:key:z6Mk... 20 --lab-did did:key:z6Mk... --days 90
    """
    from archipel.market.attesting import signed
    from archipel.records.grants import Permit

    own = own_key(key)
    said = Permit(
        lab=lab_did,
        grantee=own.did,
        door=door,
        name=secrets.token_hex(8),
        micro=micro,
        until_ms=clock_ms() + days * DAY_MS,
    )
    _write(out, signed(own, said))
    facts = said.model_dump(mode="json") | {"file": str(out)}
    show(facts, as_json, lambda: f"{out}: {door} may charge {own.did} {credits_words(micro)}")


def signed_file(path: Path) -> "Signed":
    """What a file holds that somebody signed. Raises Mendable."""
    from archipel.records.membership import NotSigned, signed_from

    with mending(OSError), path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise Mendable(
            f"{path} has more than {MAX_FILE_BYTES} bytes; expected what `archipel grants` wrote"
        )
    with mending(NotSigned):
        return signed_from(data)


def _write(out: Path, said: "Signed") -> None:
    with mending(OSError):
        out.touch(mode=0o600)
        out.write_text(said.model_dump_json() + "\n", "utf-8")


def _tag_key(path: Path) -> bytes:
    from archipel.market.attesting import TAG_KEY_BYTES

    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    with mending(OSError):
        try:
            with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
                file.write(secrets.token_bytes(TAG_KEY_BYTES))
                os.fsync(file.fileno())
        except FileExistsError:
            pass
        with path.open("rb") as file:
            data = file.read(TAG_KEY_BYTES + 1)
    if len(data) != TAG_KEY_BYTES:
        raise Mendable(
            f"{path} is no tag key: expected {TAG_KEY_BYTES} bytes, as this command makes"
        )
    return data
