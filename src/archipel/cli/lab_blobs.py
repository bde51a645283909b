"""Where a lab's blobs lie: its home's folder, or a bucket of an S3-compatible server that an address names.

Credentials are read here alone, as the AWS tools find them: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
`AWS_SESSION_TOKEN`, else the profile `AWS_PROFILE` [default] of `AWS_SHARED_CREDENTIALS_FILE` [~/.aws/credentials].
"""

import configparser
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import Mendable

if TYPE_CHECKING:
    from archipel.blobs.port import LabBlobs
    from archipel.blobs.s3_signing import Credentials

BLOBS = click.option(
    "--blobs",
    metavar="URL",
    help="s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION, or a folder [HOME/blobs]. Credentials: AWS_ACCESS_KEY_ID "
    "and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials.",
)
MAX_FILE_BYTES = 1024 * 1024
QUOTA_BYTES = 512 * 2**30


def open_blobs(
    url: str | None, folder: Path, quota: int = QUOTA_BYTES, *, ages: bool = False
) -> "LabBlobs":
    """The store at this address.

    Args:
        url: see the option; None: the folder `blobs` of the lab's home.
        folder: the lab's home, where what arrives for a bucket waits until it is whole.
        quota: bytes; a quarter is for trusted uploads alone.
        ages: blobs are as old as the store says; else, in a bucket, as if they had been offered just now.

    Raises:
        Mendable: the address, or the credentials. BlobError, OSError: the store.
    """
    import time

    from archipel.blobs import BlobStore
    from archipel.blobs.s3_place import SCHEME, BadPlace, place_of

    if url is None or "://" not in url:
        place = folder / "blobs" if url is None else Path(url)
        return BlobStore(place, quota_bytes=quota, reserve_bytes=quota // 4)
    if not url.startswith(SCHEME):
        raise Mendable(f"--blobs {url[:80]}: expected s3://BUCKET/PREFIX or a folder")
    from archipel.blobs.s3 import S3Blobs
    from archipel.blobs.s3_bucket import Bucket

    environment = os.environ
    try:
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
        endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
        bucket = Bucket(place_of(url, region, endpoint), credentials(environment, Path.home()))
    except BadPlace as error:
        raise Mendable(f"--blobs: {error}") from None
    arriving = BlobStore(folder / "arriving", quota_bytes=quota, is_lasting=False)
    as_young_s = 0.0 if ages else time.time()
    click.get_current_context().call_on_close(bucket.close)
    return S3Blobs(bucket, arriving, quota, quota // 4, as_young_s=as_young_s)


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
