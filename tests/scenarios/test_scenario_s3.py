"""A whole run whose blobs lie in a bucket: a lab that dies in its middle goes on, and the policies are the same."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from archipel import source_environment
from archipel.bench.site import START_LIMIT_S, Site
from archipel.blobs import BlobStore
from archipel.blobs.s3 import S3Blobs
from archipel.blobs.s3_bucket import Bucket
from archipel.blobs.s3_place import place_of
from archipel.lab.garbage import needed
from s3_server import S3Server, s3_server
from stage import EVERY_PROCESS, Outcome, Stage

VERSIONS = 6  # as the undisturbed run's


class InBucket(Site):
    """A site whose lab keeps its blobs elsewhere."""

    blobs = ""

    def start_lab(
        self, port: int = 0, options: Sequence[str] = (), limit_s: float = START_LIMIT_S
    ) -> str:
        return super().start_lab(port, ("--blobs", self.blobs, *options), limit_s)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def stage(server: S3Server, start: Path, tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path / "site", start, VERSIONS, staleness=0) as stage:
        stage.site.close()
        stage.site = InBucket(tmp_path / "site", {**EVERY_PROCESS, **server.environment})
        stage.site.blobs = server.fresh()
        yield stage


@pytest.mark.slow
def test_a_run_over_a_bucket_ends_as_one_over_a_folder_also_when_its_lab_dies(
    stage: Stage, server: S3Server, tmp_path: Path, undisturbed: Outcome
) -> None:
    stage.open()
    for name in ("a", "b"):
        stage.site.start_node(name)
    stage.wait_for_version(2)
    stage.restart_lab()
    outcome = stage.finished()
    assert outcome.policies == undisturbed.policies
    assert isinstance(stage.site, InBucket)
    home = stage.site.home("lab")
    words = ["lab", "gc", "--home", str(home), "--blobs", stage.site.blobs, "--grace", "0"]
    swept = subprocess.run(
        [sys.executable, "-m", "archipel.cli.archipel", *words],
        env={**source_environment(), **EVERY_PROCESS, **server.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert swept.returncode == 0, swept.stderr
    bucket = Bucket(place_of(stage.site.blobs), server.credentials)
    store = S3Blobs(bucket, BlobStore(tmp_path / "arriving"))
    assert needed(outcome.state) == set(store.digests()), "all that is needed, and nothing else"
    for digest in needed(outcome.state):
        store.read_bytes(digest, store.size(digest))  # hashed
    assert not list((home / "blobs").glob("??/*")), "nothing lies on the lab's disk"
    bucket.close()
