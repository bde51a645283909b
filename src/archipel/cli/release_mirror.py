"""`archipel release mirror`: a release copied from places that nobody believes."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, home_folder, mending, printable, show
from archipel.cli.lab_door import JSON, bounded_fetch
from archipel.cli.release_asked import expected_key
from archipel.cli.telling import seldom
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.release.mirroring.kept import Target
    from archipel.release.mirroring.mirror import Mirrored
    from archipel.release.mirroring.origins import Origin
    from archipel.release.mirroring.s3 import Access

BYTES_PER_GB = 10**9
MAX_ORIGINS = 64
S3 = "s3://"


@click.command()
@click.argument("origin", metavar="FROM")
@click.argument("to", metavar="TO")
@click.option(
    "--also",
    multiple=True,
    metavar="DIR|URL|S3",
    help="Another place that has it, read beside FROM; may be given several times.",
)
@click.option(
    "--key",
    metavar="PEM|HINT",
    help="Whose signature is expected: a file with a public key, or its 64 hexadecimal digits.",
)
@click.option(
    "--stall",
    "stall_s",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600.0),
    help="Seconds without a byte after which a place is left.",
)
@bounded_fetch("TO")
@JSON
def command(
    origin: str,
    to: str,
    also: tuple[str, ...],
    key: str | None,
    stall_s: float,
    max_gb: float,
    as_json: bool,
) -> None:
    """Copy a release from FROM, a folder, an address or s3://BUCKET/PREFIX, to TO, a folder or a bucket: only what is missing.

    The signature is read first; it names every file, and a file without the signed digest is not kept, wherever it
    came from. A place that lies, stalls or has another release is left and named. The same command goes on where it
    was stopped, and mends a mirror that was damaged. Exit code 1: some file was to be had nowhere.

    Buckets take AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION and, for a store that is not
    Amazon's, AWS_ENDPOINT_URL from the environment.

    \b
    Examples:
      archipel release mirror https://models.example/secret-order mirror
      archipel release mirror bundle mirror --also https://models.example/secret-order
      archipel release mirror bundle s3://models/secret-order
      archipel release mirror https://a.example/m mirror --also https://b.example/m --key release.pem
    """
    from archipel.release.mirroring.mirror import Limits, mirror
    from archipel.release.mirroring.signed import CannotMirror, Whose, agree

    names = tuple(dict.fromkeys((origin, *also)))
    if len(names) > MAX_ORIGINS:
        raise click.UsageError(f"at most {MAX_ORIGINS} places; got {len(names)}")
    tell = seldom()
    with mending(CannotMirror, ValueError, OSError), ExitStack() as open_ones:
        hint, pem = expected_key(key)
        origins = [_origin(each, stall_s, open_ones) for each in names]
        agreed = agree(origins, Whose(hint, pem))
        limits = Limits(int(max_gb * BYTES_PER_GB), stall_s)
        made = mirror(agreed, _target(to, stall_s, open_ones), limits, tell)
    show(_said(made, to), as_json, lambda: printable(_words(made, to, key is not None)))
    if made.lacking:
        raise Mendable(
            f"{counted(len(made.lacking), 'file')} of the release {'was' if len(made.lacking) == 1 else 'were'} to be "
            f"had nowhere as signed: {', '.join(made.lacking[:5])}; give another place with --also"
        )
    if made.strangers:
        raise Mendable(
            f"{to} holds what is no part of the release: {', '.join(made.strangers[:5])}; remove it"
        )


def _origin(name: str, stall_s: float, open_ones: ExitStack) -> "Origin":
    from archipel.release.mirroring.origins import FolderOrigin, client_of, http_origin

    if name.startswith(S3):
        from archipel.release.mirroring.s3 import s3_origin, utc_now

        client = open_ones.enter_context(client_of(stall_s, redirects=False))
        return s3_origin(name, _access(), client, utc_now)
    if "://" not in name:
        if not Path(name).is_dir():
            raise Mendable(f"{name} is no folder; a release is one, or an address")
        return FolderOrigin(Path(name))
    origin = http_origin(name, stall_s)
    open_ones.callback(origin.client.close)
    return origin


def _target(name: str, stall_s: float, open_ones: ExitStack) -> "Target":
    from archipel.release.mirroring.kept import Kept
    from archipel.release.mirroring.origins import client_of

    if not name.startswith(S3):
        if "://" in name:
            raise Mendable(
                f"{name:.200} cannot be written to; a mirror is a folder, or s3://BUCKET/PREFIX"
            )
        return Kept(Path(name))
    from archipel.release.mirroring.s3 import Bucket, utc_now

    client = open_ones.enter_context(client_of(stall_s, redirects=False))
    return Bucket(name, _access(), client, utc_now, home_folder("release", None) / "to-bucket")


def _access() -> "Access":
    """Of buckets, from the environment."""
    from archipel.release.mirroring.s3 import Access

    said = os.environ
    if not (key := said.get("AWS_ACCESS_KEY_ID")) or not (
        secret := said.get("AWS_SECRET_ACCESS_KEY")
    ):
        raise Mendable(
            "a bucket is asked by a key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return Access(
        key,
        secret,
        said.get("AWS_SESSION_TOKEN") or None,
        said.get("AWS_REGION") or said.get("AWS_DEFAULT_REGION") or "us-east-1",
        said.get("AWS_ENDPOINT_URL_S3") or said.get("AWS_ENDPOINT_URL") or None,
    )


def _said(made: "Mirrored", to: str) -> dict[str, Any]:
    return {
        "mirror": str(to),
        "key": made.hint,
        "whole": made.is_whole,
        "files": made.num_files,
        "fetched_files": made.num_fetched,
        "fetched_bytes": dict(made.fetched),
        "left": dict(made.left),
        "lacking": list(made.lacking),
        "strangers": list(made.strangers),
    }


def _words(made: "Mirrored", to: str, is_key_known: bool) -> str:
    there = made.num_files - made.num_fetched - len(made.lacking)
    lines = [
        f"{to}: {made.num_files} signed files; {there} were there, {made.num_fetched} were fetched",
        *(f"  {counted(size, 'byte')} from {name}" for name, size in made.fetched.items()),
        *(f"  left {name}: {why}" for name, why in made.left.items()),
    ]
    own = "" if is_key_known else ", which the release brings itself: compare it with its owner's"
    lines.append(f"signed by the key {made.hint}{own}")
    if made.is_whole:
        lines.append(f"`archipel release verify {to}` checks it, wherever it came from")
    return "\n".join(lines)
