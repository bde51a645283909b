"""A run over a bucket whose bytes pass by the lab: as many as passed through it before, counted on both sides.

`pytest -s` prints the bytes, with and without.
"""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from archipel import source_environment
from archipel.bench.site import START_LIMIT_S, Site
from archipel.records.recipe import Recipe
from archipel.training.start import start_model
from s3_server import S3Server, s3_server
from stage import EVERY_PROCESS, Outcome, Stage
from tiny import tiny_recipe

VERSIONS = 4
_SAMPLE = re.compile(r"^archipel_(\w+?)_total\{(.*)\} (\S+)$", re.MULTILINE)


def wide_recipe() -> Recipe:
    """The tiny run's, with a model whose every version is above the least that passes by the lab, however it packs."""
    recipe = tiny_recipe(VERSIONS, 0)
    said = recipe.model_dump(exclude_unset=True)
    said["model"] |= {"intermediate_size": 24576}
    said["supervised"] |= {"steps": 250, "batch_size": 16}
    return Recipe.model_validate(said)


class InBucket(Site):
    """A site whose lab keeps its blobs elsewhere."""

    blobs = ""

    def start_lab(
        self, port: int = 0, options: Sequence[str] = (), limit_s: float = START_LIMIT_S
    ) -> str:
        return super().start_lab(port, ("--blobs", self.blobs, *options), limit_s)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server(is_verifying=True) as server:
        yield server


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide")
    start_model(wide_recipe(), folder)
    return folder


def ran(server: S3Server, start: Path, folder: Path, url: str) -> tuple[Outcome, dict[str, int]]:
    """What came of a run by two nodes, and the bytes of blobs that the lab counted."""
    with Stage(folder, start, VERSIONS, staleness=0) as stage:
        stage.site.close()
        stage.recipe = wide_recipe()
        site = InBucket(folder, {**EVERY_PROCESS, **server.environment})
        stage.site, site.blobs = site, url
        stage.open()
        for name in ("a", "b"):
            site.start_node(name)
        stage.wait_for_version(VERSIONS)
        with urllib.request.urlopen(f"{site.url}/metrics") as answer:
            found = _SAMPLE.findall(answer.read().decode())
        counts = {
            "through, out": _sum(found, "response_body_bytes", 'route="/blobs/{digest}"'),
            "through, in": _sum(found, "request_body_bytes", 'route="/blobs/{digest}"'),
            "by, out": _sum(found, "direct_bytes", 'way="out"'),
            "by, in": _sum(found, "direct_bytes", 'way="in"'),
        }
        return stage.finished(), counts


def _sum(found: list[tuple[str, str, str]], name: str, label: str) -> int:
    return sum(
        int(float(value)) for what, labels, value in found if what == name and label in labels
    )


def archipel(server: S3Server, *words: str, exits: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "archipel.cli.archipel", *words],
        env={**source_environment(), **EVERY_PROCESS, **server.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == exits, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_large_blobs_pass_by_the_lab_and_the_policies_are_the_same(
    server: S3Server, wide: Path, tmp_path: Path
) -> None:
    url = server.fresh()
    direct, counts = ran(server, wide, tmp_path / "by", url)
    plain, through = ran(server, wide, tmp_path / "through", f"{server.fresh()}&public=none")
    print("\nbytes of blobs:", json.dumps({"by": counts, "through": through}))
    assert direct.policies == plain.policies
    assert through["by, out"] == through["by, in"] == 0
    assert min(through["through, out"], through["through, in"]) > 4_000_000
    assert counts["through, out"] < through["through, out"] / 10
    assert counts["through, in"] < through["through, in"] / 10
    assert min(counts["by, out"], counts["by, in"]) > 4_000_000

    home, copy = tmp_path / "by" / "lab", tmp_path / "copy"
    said = json.loads(archipel(server, "lab", "backup", str(copy), "--home", str(home), "--json"))
    assert said["missing_blobs"] == []
    assert said["blobs"] == 0, "they stay in the bucket"
    listed = (copy / "blobs.list").read_text().split()
    words = ("lab", "backup", str(copy), "--home", str(home), "--copy-blobs", "--json")
    assert json.loads(archipel(server, *words))["blobs"] == len(listed) > 0
    back = tmp_path / "back"
    put = json.loads(archipel(server, "lab", "restore", str(copy), "--home", str(back), "--json"))
    assert put["missing_blobs"] == []
    assert (back / "blobs.url").read_text() == f"{url}\n"
    other = tmp_path / "other"
    said = archipel(
        server, "lab", "start", "--home", str(other), "--port", "0", "--blobs", url, exits=1
    )
    assert "give each lab a prefix of its own" in said
