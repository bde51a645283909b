"""A lab as its image holds it, really run; and what the public tools of their formats say of the files in deploy/."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from archipel import source_environment
from archipel.bench.site import START_LIMIT_S, Site
from stage import EVERY_PROCESS, Stage
from tiny import write_start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
DEPLOY, HERE = ROOT / "deploy", Path(__file__).parent
TOOLS = os.environ.get("ARCHIPEL_DEPLOY_TOOLS", "")  # noqa: TID251  of this test alone
DEBIAN = Path("/usr/bin/python3")
PROGRAM = ("-m", "archipel.cli.archipel")
USER = 10001
VERSIONS = 2


def _tool(name: str) -> str:
    """A public tool, from the environment of `make test-deploy` or the path."""
    found = shutil.which(name, path=f"{TOOLS}:{os.environ['PATH']}:/usr/sbin")  # noqa: TID251  as a shell finds it
    if found is None:
        pytest.skip(f"{name} is not here; `make test-deploy` installs it, or your system does")
    return found


def _says(*words: str | Path) -> str:
    told = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout + told.stderr


def test_the_dockerfile_passes_hadolint() -> None:
    assert _says(_tool("hadolint"), DEPLOY / "Dockerfile") == ""


def test_the_manifests_hold_against_the_schemas_of_kubernetes() -> None:
    files = [p for p in sorted((DEPLOY / "kubernetes").glob("*.yaml")) if p.stem != "kustomization"]
    for path in files:
        assert "passed for resource" in _says(_tool("kubernetes-validate"), "--strict", path)


def test_compose_reads_its_file(tmp_path: Path) -> None:
    here = tmp_path / "deploy" / "compose.yaml"  # docker-compose 1.29, Debian 12's, knows no name
    here.parent.mkdir()
    here.write_text((DEPLOY / "compose.yaml").read_text("utf-8").replace("name: archipel\n", "", 1))
    found = _says(_tool("docker-compose"), "-f", here, "config")
    assert found.count("no-new-privileges") >= 4


def test_systemd_reads_the_units_and_finds_them_little_exposed(tmp_path: Path) -> None:
    analyze = _tool("systemd-analyze")
    for unit in sorted((DEPLOY / "systemd").glob("*.service")):
        here = tmp_path / unit.name  # the program is not installed here; what is asked is the rest
        here.write_text(unit.read_text("utf-8").replace("/opt/archipel/bin/archipel", "/bin/true"))
        assert _says(analyze, "verify", "--man=no", here) == "", unit.name
        _says(analyze, "security", "--offline=true", "--threshold=25", here)  # of 100


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment that the Dockerfile makes for a lab, made by the same steps."""
    if os.geteuid() != 0 or not DEBIAN.exists():
        pytest.skip("takes root, to be another user, and a Python that every user may run")
    for name in ("unshare", "setpriv", "make"):
        _tool(name)
    folder, tools = tmp_path_factory.mktemp("image"), ROOT / ".venv-dist"
    _says("make", "-C", ROOT, tools / ".dist", f"DIST_VENV={tools}", f"PYTHON={sys.executable}")
    build = (tools / "bin" / "python", "-m", "build", "--no-isolation", "--wheel")
    _says(*build, "--outdir", folder, ROOT)
    _says(DEBIAN, "-m", "venv", "--without-pip", folder / "opt")
    pip = (tools / "bin" / "pip", "--python", folder / "opt" / "bin" / "python", "install", "-q")
    _says(*pip, "--no-deps", "--require-hashes", "-r", DEPLOY / "lab.txt")
    _says(*pip, "--no-deps", "--no-index", next(folder.glob("*.whl")))
    return folder / "opt"


class InImage(Site):
    """A site whose lab runs as its container does; agents run as everywhere, with nothing to gain."""

    def __init__(self, folder: Path, image: Path) -> None:
        super().__init__(folder, EVERY_PROCESS)
        self.image = image
        self.home("lab").mkdir(mode=0o700)
        os.chown(self.home("lab"), USER, USER)

    def words(self, *rest: str) -> list[str]:
        script = (str(HERE / "as_in_image.sh"), str(self.image), str(self.home("lab")))
        return ["unshare", "--mount", "bash", *script, *rest]

    def start_lab(
        self, port: int = 0, options: Sequence[str] = (), limit_s: float = START_LIMIT_S
    ) -> str:
        words = [*PROGRAM, "lab", "start", "--home", "/mnt/state", "--port", str(port), *options]
        with self._output("lab").open("ab") as output:
            self._processes["lab"] = subprocess.Popen(
                self.words(*words), stdout=output, stderr=output
            )
        self.wait_until((self.home("lab") / "url").is_file, "the lab to listen", limit_s)
        self.url = (self.home("lab") / "url").read_text()
        self.wait_until(lambda: self.get("/healthz") is not None, "the lab to answer", limit_s)
        return self.url

    def start_node(
        self, name: str, options: Sequence[str] = (), program: Sequence[str] = PROGRAM
    ) -> str:
        return super().start_node(name, options, (str(HERE / "confined_agent.py"),))

    def asked(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command in the lab's image, beside the lab."""
        return subprocess.run(
            self.words(*words), capture_output=True, text=True, timeout=120, check=False
        )


@pytest.fixture
def stage(image: Path, tmp_path: Path) -> Iterator[Stage]:
    start = write_start(tmp_path / "start")
    with Stage(tmp_path / "site", start, VERSIONS, staleness=0) as stage:
        stage.site.close()
        stage.site = InImage(tmp_path / "site", image)
        yield stage


def test_a_lab_as_its_image_holds_it_runs_without_a_tensor_library_as_nobody_who_may_write_anything(
    stage: Stage,
) -> None:
    site = stage.site
    assert isinstance(site, InImage)
    assert "No module named 'torch'" in site.asked("-c", "import torch").stderr
    assert "No module named 'numpy'" in site.asked("-c", "import numpy").stderr
    refused = site.asked("-c", "open('/mnt/archipel/x', 'w')").stderr
    assert "Read-only file system" in refused
    assert site.asked(*PROGRAM, "lab", "status", "--check", "--home", "/mnt/state").returncode == 1
    stage.open()
    status = Path(f"/proc/{site.pid('lab')}/status").read_text()
    assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}\n" in status
    assert "CapEff:\t0000000000000000\n" in status
    assert "CapBnd:\t0000000000000000\n" in status
    assert "NoNewPrivs:\t1\n" in status
    assert site.asked(*PROGRAM, "lab", "status", "--check", "--home", "/mnt/state").returncode == 0
    site.start_node("node")
    check = [
        sys.executable,
        *PROGRAM,
        "node",
        "status",
        "--check",
        "--home",
        str(site.home("node")),
    ]
    surroundings = {**source_environment(), **EVERY_PROCESS}
    stage.wait_for_version(1)
    assert subprocess.run(check, env=surroundings, timeout=120, check=False).returncode == 0
    home = site.home("node")
    stage.finished()
    assert subprocess.run(check, env=surroundings, timeout=120, check=False).returncode == 1
    _child_confined(home)


def _child_confined(home: Path) -> None:
    """The node's work process could still give up what it gives up, from within such a container."""
    told = (home / "child.log").read_text("utf-8", "replace") + (home / "log.jsonl").read_text()
    for word in ("file_reads", "file_writes", "network", "system_calls"):
        assert word in told, told[-2000:]
