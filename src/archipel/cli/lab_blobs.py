"""Where a lab's blobs lie: its home's folder, or a bucket of an S3-compatible server that an address names.

Which it is, a lab that starts says in `HOME/blobs.url`, for commands beside it that are not told.

Credentials are read here alone, as the AWS tools find them: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
`AWS_SESSION_TOKEN`, else the profile `AWS_PROFILE` [default] of `AWS_SHARED_CREDENTIALS_FILE` [~/.aws/credentials].
"""

import configparser
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from archipel.cli.doors import Mendable
from archipel.cli.grouped import as_one

if TYPE_CHECKING:
    from archipel.blobs.port import LabBlobs
    from archipel.blobs.s3_direct import DirectBucket
    from archipel.blobs.s3_reading import BucketReader
    from archipel.blobs.s3_signing import Credentials

BLOBS = click.option(
    "--blobs",
    metavar="URL",
    help="s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION&public=https://HOST, or a folder [HOME/blobs]. Nodes fetch "
    "and put large blobs at public= themselves [the endpoint, if https]; none: all pass the lab. Credentials: "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials.",
)
LEDGER = click.option(
    "--ledger", metavar="URL", help="postgresql://... or a file [HOME/ledger.sqlite]."
)


class Stored(NamedTuple):
    """Where a lab's ledger and blobs lie, if not in its home, and how much of the latter there may be."""

    ledger: str | None
    blobs: str | None
    max_store_gb: float


stored_options = as_one(
    "stored",
    Stored,
    LEDGER,
    BLOBS,
    click.option(
        "--max-store-gb", default=512.0, show_default=True, help="Quota of the blob store."
    ),
)
MAX_FILE_BYTES = 1024 * 1024
QUOTA_BYTES = 512 * 2**30


PLACE_FILE = "blobs.url"


def open_blobs(
    url: str | None,
    folder: Path,
    quota: int = QUOTA_BYTES,
    *,
    ages: bool = False,
    lab: str | None = None,
) -> "LabBlobs":
    """The store at this address.

    Args:
        url: see the option; None: the folder `blobs` of the lab's home.
        folder: the lab's home, where what arrives for a bucket waits until it is whole.
        quota: bytes; a quarter is for trusted uploads alone.
        ages: blobs are as old as the store says; else, in a bucket, as if they had been offered just now.
        lab: whose the blobs are, which is noted in the bucket, and the place in its home; None: they are only looked at.

    Raises:
        Mendable: the address, or the credentials. BlobError, OSError: the store, or it is another lab's.
    """
    import time

    from archipel.blobs import BlobStore

    if url is None or "://" not in url:
        place = folder / "blobs" if url is None else Path(url)
        if place.exists() and not place.is_dir():
            raise Mendable(f"--blobs {place}: a file; expected a folder, or s3://BUCKET/PREFIX")
        if lab is not None:
            say_place(folder, None)
        return BlobStore(place, quota_bytes=quota, reserve_bytes=quota // 4)
    from archipel.blobs.s3 import S3Blobs
    from archipel.blobs.s3_owner import claim

    bucket = bucket_at(url)
    click.get_current_context().call_on_close(bucket.close)
    if lab is not None:
        claim(bucket, lab)
        say_place(folder, url)
    arriving = BlobStore(folder / "arriving", quota_bytes=quota, is_lasting=False)
    as_young_s = 0.0 if ages else time.time()
    return S3Blobs(bucket, arriving, quota, quota // 4, as_young_s=as_young_s)


def bucket_at(url: str) -> "DirectBucket":
    """The bucket at this address, with the credentials that are found here. Raises Mendable."""
    from archipel.blobs.s3_direct import DirectBucket
    from archipel.blobs.s3_place import SCHEME, BadPlace, place_of

    if not url.startswith(SCHEME):
        raise Mendable(f"--blobs {url[:80]}: expected s3://BUCKET/PREFIX or a folder")
    environment = os.environ
    try:
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
        endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
        return DirectBucket(place_of(url, region, endpoint), credentials(environment, Path.home()))
    except BadPlace as error:
        raise Mendable(f"--blobs: {error}") from None


def reader_at(url: str) -> "BucketReader":
    """What reads a few blobs of a bucket and lists none. Raises Mendable."""
    from archipel.blobs.s3_reading import BucketReader

    return BucketReader(bucket_at(url))


def say_place(folder: Path, url: str | None) -> None:
    """Note where the blobs of this home's lab lie. Raises OSError."""
    known = folder / PLACE_FILE
    if url is not None and "://" in url:
        known.write_text(url + "\n", "utf-8")
    else:
        known.unlink(missing_ok=True)


def said_place(folder: Path, url: str | None) -> str | None:
    """Where they lie: as an option says, else as its lab noted; None: in the home's folder. Raises OSError."""
    known = folder / PLACE_FILE
    if url is not None or not known.is_file():
        return url
    with known.open(encoding="utf-8") as file:
        return file.read(MAX_FILE_BYTES).strip() or None


def credentials(environment: Mapping[str, str], home: Path) -> "Credentials":
    """As the AWS tools find them.

    Raises:
        Mendable: there are none.
    """
    from archipel.blobs.s3_signing import Credentials

    key_id, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if key_id and secret:
        return Credentials(key_id, secret, environment.get("AWS_SESSION_TOKEN") or None)
    file = environment.get("AWS_SHARED_CREDENTIALS_FILE")
    path = Path(file) if file else home / ".aws" / "credentials"
    profile = environment.get("AWS_PROFILE") or "default"
    found = _profile(path, profile)
    if not (found.get("aws_access_key_id") and found.get("aws_secret_access_key")):
        raise Mendable(
            "--blobs needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write the profile "
            f"{profile} into {path}"
        )
    return Credentials(
        found["aws_access_key_id"],
        found["aws_secret_access_key"],
        found.get("aws_session_token") or None,
    )


def _profile(path: Path, name: str) -> Mapping[str, str]:
    """Empty: it is not there."""
    parser = configparser.RawConfigParser()
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_string(file.read(MAX_FILE_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, configparser.Error) as error:
        # Not the parser's own words: they quote the line, and with it perhaps the secret.
        raise Mendable(f"cannot read {path} ({type(error).__name__}); mend it") from None
    return parser[name] if parser.has_section(name) else {}
