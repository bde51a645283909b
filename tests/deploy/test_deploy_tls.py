"""TLS from end to end: agents work over https, through nginx as the how-to has it, and at a lab's own certificate."""

import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from archipel.bench.site import Site
from authority import Authority, Pair
from ports import free_port
from stage import EVERY_PROCESS, Stage
from tiny import write_start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "run-a-lab.md"
VERSIONS = 2
LIMIT_S = 20.0


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return write_start(tmp_path / "start")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Secured(Site):
    """A site whose agents reach the lab at another address than this process: the one with TLS."""

    secured = ""

    def start_update(self, name: str = "update", options: object = ()) -> str:
        return self._joined(name, "update")

    def start_node(self, name: str, options: object = (), program: object = ()) -> str:
        return self._joined(name, "node")

    def _joined(self, name: str, role: str) -> str:
        words = [role, "join", self.secured, "--home", str(self.home(name)), "--quiet"]
        self._start(name, words)
        return self.did(name)


def _stage(folder: Path, start: Path, authority: Authority) -> Stage:
    stage = Stage(folder, start, VERSIONS, staleness=0)
    stage.site.close()
    stage.site = Secured(folder, {**EVERY_PROCESS, "ARCHIPEL_CA": str(authority.path)})
    return stage


@contextmanager
def nginx(folder: Path, pair: Pair, lab_port: int) -> Iterator[int]:
    """The how-to's server block, word for word but for ports, files and the host's name."""
    (block,) = re.findall(r"^nginx:\n\n```\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL | re.M)
    port = free_port()
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("127.0.0.1:8440", f"127.0.0.1:{lab_port}"),
        ("/etc/letsencrypt/live/lab.example/fullchain.pem", str(pair.chain)),
        ("/etc/letsencrypt/live/lab.example/privkey.pem", str(pair.key)),
        ("http2 on;", ""),  # since 1.25; Debian 12 has 1.22
    ):
        assert old in block, old
        block = block.replace(old, new)
    folder.mkdir()
    places = "".join(
        f"{kind}_temp_path {folder / kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    head = f"daemon off; worker_processes 1; pid {folder / 'pid'}; error_log {folder / 'error.log'};\nuser root;\n"
    (folder / "nginx.conf").write_text(
        f"{head}events {{}}\nhttp {{ access_log off;\n{places}{block}}}\n", "utf-8"
    )
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("nginx is not here: apt-get install nginx")
    words = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(words) as process:
        try:
            _wait_for(port, process, folder / "error.log")
            yield port
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text("utf-8")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nginx did not listen within {LIMIT_S} s: {log.read_text('utf-8')}")


def test_a_run_is_learned_by_agents_that_know_the_lab_only_through_nginx(
    tmp_path: Path, start: Path, authority: Authority
) -> None:
    pair = authority.certify("lab", "localhost")
    with _stage(tmp_path / "site", start, authority) as stage:
        site = stage.site
        assert isinstance(site, Secured)
        lab = site.start_lab()
        with nginx(tmp_path / "nginx", pair, int(lab.rsplit(":", 1)[1])) as port:
            site.secured = f"https://localhost:{port}"
            site.start_lab = lambda *_, **__: lab  # type: ignore[method-assign]  # it runs
            stage.open()
            site.start_node("node")
            stage.wait_for_version(VERSIONS)
            with httpx.Client(verify=False) as stranger:
                told = stranger.get(f"{site.secured}/ledger/entries?start=0&limit=1")
            assert told.status_code == 200
            # Before the lab ends: whoever asks it then is refused, and rightly.
            errors = (tmp_path / "nginx" / "error.log").read_text("utf-8")
            assert "[error]" not in errors, errors
            stage.finished()


def test_a_node_joins_at_a_labs_own_certificate_and_status_finds_it_by_name(
    tmp_path: Path, start: Path, authority: Authority
) -> None:
    pair = authority.certify("lab", "localhost")
    with _stage(tmp_path / "site", start, authority) as stage:
        site = stage.site
        assert isinstance(site, Secured)
        context = ssl.create_default_context(cafile=authority.path)
        site._http = httpx.Client(timeout=10.0, trust_env=False, verify=context)
        site.secured = site.start_lab(
            0, ["--tls-cert", str(pair.chain), "--tls-key", str(pair.key)]
        )
        assert site.secured.startswith("https://localhost:")
        site.start_node("node")
        site.wait_until(lambda: len(site.nodes()) == 1, "the node to join", 60.0)
        home = str(site.home("lab"))
        site._start("check", ["lab", "status", "--check", "--home", home])
        assert site._processes.pop("check").wait(60) == 0
        site._environment.pop("ARCHIPEL_CA")
        site._start("check", ["lab", "status", "--check", "--home", home])
        assert site._processes.pop("check").wait(60) == 1, "nobody vouches for it"
        ca = str(authority.path)
        site._start("check", ["--ca", ca, "lab", "status", "--check", "--home", home])
        assert site._processes.pop("check").wait(60) == 0
