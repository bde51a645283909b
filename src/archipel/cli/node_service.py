"""`archipel node service`: a systemd user unit with which a node runs in the background."""

import os
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from archipel import SAME_HASHES
from archipel.cli.doors import (
    KEEP_MEMORY,
    Mendable,
    child_environment,
    home_folder,
    mending,
    thread_environment,
)
from archipel.cli.keys import given_file

DEFAULT_NAME = "archipel-node"
PRESENTED = ("delegation", "invitation")
"""Options that name files which others signed."""
SEVERAL = "several labs"
NEEDED = ("ARCHIPEL_HOME", "RAY_ADDRESS", "RAY_AUTH_MODE")
"""Of this shell, too, where they are set; the word that a Ray cluster asks for is none of a unit's, which anybody may read."""
GIVE_BACK_LIMIT_S = 30
"""After SIGTERM a node gives its lease back and leaves; that takes seconds."""
UNIT = """\
[Unit]
Description=Archipel node at {lab}
StartLimitIntervalSec=3600
StartLimitBurst=10

[Service]
ExecStart={command}
{environment}Restart=on-failure
RestartSec=30
TimeoutStopSec={stop_s}
KillMode=mixed
OOMPolicy=continue
Nice=10
UMask=0077

[Install]
WantedBy=default.target
"""


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[LAB_URL] [OPTIONS]...")
@click.option("--install", is_flag=True, help="Write the unit instead of printing it.")
@click.option("--name", default=DEFAULT_NAME, show_default=True, help="Of the unit.")
def service(words: tuple[str, ...], install: bool, name: str) -> None:
    """Print a systemd user unit that joins LAB_URL with these OPTIONS of `node join`; without LAB_URL, one that serves several
    labs, with those of `node start`.

    \b
    Examples:
      archipel node service http://lab.example:8440
      archipel node service http://lab.example:8440 --only-at 22:00-07:00 --not-on-battery
      archipel node service http://lab.example:8440 --install
      archipel node service --lab https://one.example --lab https://two.example --install
    """
    sealed, authority = given_file(), click.get_current_context().find_root().params.get("ca")
    unit = unit_of(*_checked(words), _surroundings(), sealed, authority)
    if not install:
        click.echo(unit, nl=False)
        return
    if not name or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise click.BadParameter(
            f"{name!r}: expected letters, digits, - and _", param_hint="--name"
        )
    path = _units() / f"{name}.service"
    with mending(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(unit, "utf-8")
        partial.replace(path)
    click.echo(
        f"wrote {path}\n"
        f"start it, now and at every login:  systemctl --user daemon-reload && "
        f"systemctl --user enable --now {name}\n"
        f"keep it running after logout:      loginctl enable-linger\n"
        f"what it does:                      journalctl --user -u {name} -f; archipel node status"
    )


def unit_of(
    lab: str,
    command: Sequence[str],
    surroundings: Mapping[str, str],
    passphrase: Path | None = None,
    authority: Path | None = None,
) -> str:
    """The unit's text. lab: in words. command: of `archipel node`. passphrase: the file in which that of a sealed key stands.
    authority: that of a lab's TLS.
    """
    program = [sys.executable, "-m", "archipel.cli.archipel"]
    named = {"--passphrase-file": passphrase, "--ca": authority}
    opened = [word for name, path in named.items() if path for word in (name, str(path.resolve()))]
    words = (*program, *opened, "node", *command)
    lines = [f"Environment={quoted(f'{key}={value}')}\n" for key, value in surroundings.items()]
    return UNIT.format(
        lab=lab.replace("%", "%%"),
        command=" ".join(quoted(word).replace("$", "$$") for word in words),
        environment="".join(lines),
        stop_s=GIVE_BACK_LIMIT_S,
    )


def quoted(word: str) -> str:
    """One word as systemd reads it (systemd.syntax): nothing in it is a specifier."""
    if any(sign in word for sign in "\n\r\0"):
        raise Mendable(f"{word!r:.80} spans lines; a unit cannot hold it")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _checked(words: tuple[str, ...]) -> tuple[str, list[str]]:
    """(the lab in words, the command as given, with a home, files and a key that do not depend on where it was typed)."""
    from archipel.node.labs_file import BadLabs, read_labs

    is_one = bool(words) and not words[0].startswith("-")
    given = _read("join" if is_one else "start", words)
    home = home_folder("node", given["home"], make=False).resolve()
    files = {f"--{name}": given[name] and given[name].resolve() for name in PRESENTED}
    known = {"--home": home, **files, "--lab-key": given.get("lab_key")}
    said = {name: str(value) for name, value in known.items() if value is not None}
    options = [*_without(words[is_one:], said), *(word for each in said.items() for word in each)]
    if is_one:
        return given["lab_url"], ["join", given["lab_url"], *options]
    with mending(BadLabs, OSError):
        read_labs(home, given["lab_urls"])
    return SEVERAL, ["start", *options]


def _read(name: str, words: tuple[str, ...]) -> dict[str, Any]:
    """What this command of `archipel node` was given; refused as it refuses it."""
    group = click.get_current_context().find_root().command
    for each in ("node", name):
        group = group.get_command(click.Context(group), each)  # type: ignore[attr-defined]  # groups
    return group.make_context(f"archipel node {name}", list(words)).params


def _without(options: Sequence[str], names: Container[str]) -> Iterator[str]:
    """The options but these, however often and in whichever of their two forms they were given."""
    words = iter(options)
    for word in words:
        if word in names:
            next(words, None)
        elif word.partition("=")[0] not in names:
            yield word


def _surroundings() -> dict[str, str]:
    """What this shell says of modules, libraries and devices; a unit inherits none of it."""
    ours = {
        *thread_environment(1),
        *KEEP_MEMORY,
        *SAME_HASHES,
        "PATH",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
    }
    kept = {name: value for name, value in child_environment().items() if name not in ours}
    if "PYTHONPATH" in kept:
        folders = dict.fromkeys(map(os.path.abspath, kept["PYTHONPATH"].split(os.pathsep)))
        kept["PYTHONPATH"] = os.pathsep.join(folders)
    kept |= {name: os.environ[name] for name in NEEDED if os.environ.get(name)}
    if "ARCHIPEL_HOME" in kept:
        kept["ARCHIPEL_HOME"] = str(Path(kept["ARCHIPEL_HOME"]).expanduser().absolute())
    return dict(sorted(kept.items()))


def _units() -> Path:
    root = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    try:
        return Path(root).expanduser() / "systemd" / "user"
    except RuntimeError:
        raise Mendable("this user has no home folder; say where in XDG_CONFIG_HOME") from None
