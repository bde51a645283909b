"""What stands in deploy/: every command in it exists, every package is locked, and nothing runs as root."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from archipel.cli.archipel import command

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
CUDA = re.compile(r"(nvidia-|cuda-|triton$|torch$)")
NAME = re.compile(r"[-_.]+")


def _documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def _compose() -> dict[str, Any]:
    (found,) = _documents(DEPLOY / "compose.yaml")
    return dict(found)


def _pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in MANIFESTS:
        for each in _documents(path):
            if each["kind"] == "StatefulSet":
                yield path.name, each["spec"]["template"]["spec"]


def _in_dockerfile() -> Iterator[list[str]]:
    for line in (DEPLOY / "Dockerfile").read_text("utf-8").splitlines():
        found = re.search(r"CMD (\[.*\])$", line)
        if found:
            words = json.loads(found[1])
            yield words[1:] if words[0] == "archipel" else words


def _in_units() -> Iterator[list[str]]:
    for path in UNITS:
        (line,) = re.findall(r"^ExecStart=(.*)$", path.read_text("utf-8"), flags=re.MULTILINE)
        program, *words = shlex.split(line.replace("${LAB_URL}", "http://lab.example:8440"))
        assert program == "/opt/archipel/bin/archipel"
        yield [word.replace("%S", "/var/lib") for word in words]


def _in_manifests() -> Iterator[list[str]]:
    for _, pod in _pods():
        for container in pod["containers"]:
            yield container["args"]
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                probe = container.get(kind, {})
                if "exec" in probe:
                    program, *words = probe["exec"]["command"]
                    assert program == "archipel"
                    yield words
                elif probe:
                    assert probe["httpGet"] == {"path": "/healthz", "port": "http"}


def _commands() -> list[tuple[str, list[str]]]:
    services = _compose()["services"].values()
    return [
        *(("Dockerfile", words) for words in _in_dockerfile()),
        *(("compose.yaml", each["command"]) for each in services if "command" in each),
        *(("systemd", words) for words in _in_units()),
        *(("kubernetes", words) for words in _in_manifests()),
    ]


def test_every_command_is_one_that_the_program_takes() -> None:
    commands = _commands()
    assert len(commands) == 6 + 4 + 3 + 5
    for where, words in commands:
        found, rest = command, list(words)
        while isinstance(found, click.Group):
            name = rest.pop(0)
            inner = found.get_command(click.Context(found), name)
            assert inner is not None, f"{where}: {words}: there is no {name}"
            found = inner
        with found.make_context(" ".join(words), rest):  # a mistake in usage raises
            pass


def _locked(path: Path) -> dict[str, str]:
    """Package -> its version and hashes; where it is needed, each list says for itself."""
    text = re.sub(r" ;[^\n\\]*", "", path.read_text("utf-8")).replace("\\\n", " ")
    lines = (" ".join(line.split()) for line in text.splitlines() if line and line[0] != "#")
    return {NAME.sub("-", line.split("==")[0]).lower(): line for line in lines}


def test_images_hold_what_is_locked_and_a_lab_no_tensor_library() -> None:
    locked = _locked(ROOT / "locked.txt")
    lab, worker = _locked(DEPLOY / "lab.txt"), _locked(DEPLOY / "worker.txt")
    pinned = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert {"torch", "numpy", "matplotlib", "tokenizers", "safetensors"}.isdisjoint(lab)
    for name, line in lab.items():
        if name in ("psycopg", "psycopg-binary"):  # an extra, so not in what everybody needs
            assert line.split(" ")[0] in pinned, "make locked"
        else:
            assert line == locked[name], f"{name}: make locked"
    assert worker == {n: line for n, line in locked.items() if not CUDA.match(n)}, "make locked"
    (torch,) = re.findall(r'ARG TORCH="(torch==[0-9.]+)\+cpu"', _dockerfile())
    assert torch in pinned
    asked = (DEPLOY / "lab.in").read_text("utf-8").split("\n", 1)[1].split()
    assert {each.partition("[")[0] for each in asked} <= set(lab)


def _dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text("utf-8")


def test_what_the_dockerfile_copies_is_there_and_goes_to_the_builder_and_nothing_else() -> None:
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", _dockerfile(), flags=re.MULTILINE)
        for word in line.split()[:-1]
    }
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignore
    assert {line[1:] for line in ignore if line.startswith("!")} == copied
    for each in copied:
        assert (ROOT / each).exists(), each


def test_no_image_runs_as_root_or_calls_a_shell() -> None:
    stages = re.split(r"^FROM ", _dockerfile(), flags=re.MULTILINE)[1:]
    last = {stage.split()[2]: stage for stage in stages}
    assert re.findall(r"^USER (.*)$", last["bare"], flags=re.MULTILINE) == ["10001:10001"]
    assert 'ENTRYPOINT ["archipel"]' in last["bare"]
    for target in ("lab", "update", "node"):
        stage = last[target]
        assert stage.startswith("bare AS ")
        assert "USER" not in stage
        assert "RUN" not in stage
        assert not re.search(r"CMD [^\[]", stage), "words, not a line for a shell"
        assert "HEALTHCHECK" in stage
    assert "worker-packages" not in last["lab"]


def test_each_service_of_compose_is_confined_and_reached_from_this_machine_alone() -> None:
    whole = _compose()
    services = whole["services"]
    for name, each in services.items():
        assert each["read_only"] is True, name
        assert each["cap_drop"] == ["ALL"], name
        assert each["security_opt"] == ["no-new-privileges:true"], name
        assert "mem_limit" in each, name
        assert "privileged" not in each, name
        for port in each.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        for volume in each["volumes"]:
            assert volume.split(":")[0] in whole["volumes"], name
        for on in each.get("depends_on", {}):
            assert on in services
    agents = [each["volumes"] for name, each in services.items() if name.startswith("node-")]
    assert len(agents) == 2
    assert agents[0] != agents[1], "each node is a key of its own"


def test_each_pod_is_what_the_restricted_profile_asks_for_and_keeps_its_home() -> None:
    pods = list(_pods())
    assert [name for name, _ in pods] == ["lab.yaml", "node.yaml", "update.yaml"]
    for name, pod in pods:
        own = pod["securityContext"]
        assert own["runAsNonRoot"] is True, name
        assert own["runAsUser"] == own["fsGroup"] == 10001, name
        assert own["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
            home = container["args"][container["args"].index("--home") + 1]
            assert home.startswith(mounts["home"] + "/"), name
            assert "memory" in container["resources"]["limits"], name
    listed = _documents(DEPLOY / "kubernetes" / "kustomization.yaml")[0]["resources"]
    assert sorted(listed) == sorted(p.name for p in MANIFESTS if p.name != "kustomization.yaml")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_each_unit_gives_up_what_it_does_not_need(unit: Path) -> None:
    lines = unit.read_text("utf-8").splitlines()
    for line in (
        *("DynamicUser=yes", "CapabilityBoundingSet=", "NoNewPrivileges=yes"),
        *("ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "UMask=0077"),
        *("SystemCallArchitectures=native", "StateDirectoryMode=0700", "LockPersonality=yes"),
        f"StateDirectory={unit.stem}",
    ):
        assert line in lines, line
    if unit.stem != "archipel-lab":  # or its work process could not confine itself
        assert "RestrictNamespaces=user net" in lines
        (calls,) = [line for line in lines if "landlock_create_ruleset" in line]
        assert {"seccomp", "unshare", "landlock_add_rule", "landlock_restrict_self"} <= set(
            calls.partition("=")[2].split()
        )
