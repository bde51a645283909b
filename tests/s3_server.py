"""A bucket of a real S3-compatible server: moto's, started on 127.0.0.1, or one that the environment names.

ARCHIPEL_S3_ENDPOINT (with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) names a server that is up; else the Python that
ARCHIPEL_S3_PYTHON names, or that of `.venv-s3`, which `make test-s3` makes, runs moto's.
"""

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from archipel.blobs.s3_bucket import NOTHING
from archipel.blobs.s3_direct import DirectBucket
from archipel.blobs.s3_place import place_of
from archipel.blobs.s3_signing import Credentials
from ports import free_port

ROOT = Path(__file__).resolve().parents[1]
START_LIMIT_S = 60.0
NAMED = os.environ  # noqa: TID251  of these tests alone


@dataclass(frozen=True)
class S3Server:
    """Where it is, and who may ask."""

    endpoint: str
    credentials: Credentials

    def fresh(self) -> str:
        """The address of a bucket of its own."""
        url = f"s3://archipel-{secrets.token_hex(6)}/lab?endpoint={self.endpoint}"
        bucket = DirectBucket(place_of(url), self.credentials)
        bucket._done("PUT", "", NOTHING)
        bucket.close()
        return url

    @property
    def environment(self) -> dict[str, str]:
        """For processes that find credentials themselves."""
        return {
            "AWS_ACCESS_KEY_ID": self.credentials.key_id,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret,
        }


@contextmanager
def s3_server(*, is_verifying: bool = False) -> Iterator[S3Server]:
    """While the block lasts; skips the test where there is none.

    is_verifying: one that refuses bodies of another checksum, and addresses that do not hold (`s3_verifying.py`).
    """
    if "ARCHIPEL_S3_ENDPOINT" in NAMED and not is_verifying:
        who = Credentials(NAMED["AWS_ACCESS_KEY_ID"], NAMED["AWS_SECRET_ACCESS_KEY"])
        yield S3Server(NAMED["ARCHIPEL_S3_ENDPOINT"], who)
        return
    python = Path(NAMED.get("ARCHIPEL_S3_PYTHON", ROOT / ".venv-s3" / "bin" / "python"))
    if not python.is_file():
        pytest.skip(f"no S3 server: {python} is not there; make test-s3 installs one")
    port = free_port()
    command = [str(python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    if is_verifying:
        command = [str(python), str(ROOT / "tests" / "s3_verifying.py"), str(port)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait_for(endpoint, child)
        yield S3Server(endpoint, Credentials("key", "secret"))
    finally:
        child.kill()
        child.wait()


def _wait_for(endpoint: str, child: "subprocess.Popen[bytes]") -> None:
    end_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end_s:
        assert child.poll() is None, "moto's server ended at its start"
        with suppress(httpx.HTTPError):
            httpx.get(endpoint, trust_env=False, timeout=5.0)
            return
        time.sleep(0.1)
    raise AssertionError(f"moto's server did not answer within {START_LIMIT_S:.0f} s")
