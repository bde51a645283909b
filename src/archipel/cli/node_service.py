"""`archipel node service`: a systemd user unit with which a node runs in the background."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from archipel import SAME_HASHES
from archipel.cli.doors import (
    KEEP_MEMORY,
    LabUrl,
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
@click.argument("lab_url", type=LabUrl())
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--install", is_flag=True, help="Write the unit instead of printing it.")
@click.option("--name", default=DEFAULT_NAME, show_default=True, help="Of the unit.")
def service(lab_url: str, options: tuple[str, ...], install: bool, name: str) -> None:
    """Print a systemd user unit that joins LAB_URL with these OPTIONS of `node join`.

    \b
    Examples:
      archipel node service http://lab.example:8440
      archipel node service http://lab.example:8440 --only-at 22:00-07:00 --not-on-battery
      archipel node service http://lab.example:8440 --install
    """
    sealed, authority = given_file(), click.get_current_context().find_root().params.get("ca")
    unit = unit_of(lab_url, _checked(lab_url, options), _surroundings(), sealed, authority)
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
    lab_url: str,
    options: Sequence[str],
    surroundings: Mapping[str, str],
    passphrase: Path | None = None,
    authority: Path | None = None,
) -> str:
    """The unit's text. passphrase: the file in which that of a sealed key stands. authority: that of the lab's TLS."""
    program = [sys.executable, "-m", "archipel.cli.archipel"]
    named = {"--passphrase-file": passphrase, "--ca": authority}
    opened = [word for name, path in named.items() if path for word in (name, str(path.resolve()))]
    words = (*program, *opened, "node", "join", lab_url, *options)
    command = " ".join(quoted(word).replace("$", "$$") for word in words)
    lines = [f"Environment={quoted(f'{key}={value}')}\n" for key, value in surroundings.items()]
    return UNIT.format(
        lab=lab_url.replace("%", "%%"),
        command=command,
        environment="".join(lines),
        stop_s=GIVE_BACK_LIMIT_S,
    )


def quoted(word: str) -> str:
    """One word as systemd reads it (systemd.syntax): nothing in it is a specifier."""
    if any(sign in word for sign in "\n\r\0"):
        raise Mendable(f"{word!r:.80} spans lines; a unit cannot hold it")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _checked(lab_url: str, options: tuple[str, ...]) -> list[str]:
    """The options as given, with a home and files that do not depend on where they were typed."""
    group = click.get_current_context().find_root().command
    for name in ("node", "join"):
        group = group.get_command(click.Context(group), name)  # type: ignore[attr-defined]  # groups
    context = group.make_context("archipel node join", [lab_url, *options])
    home = home_folder("node", context.params["home"], make=False).resolve()
    files = {f"--{name}": context.params[name] for name in PRESENTED}
    given = [(name, str(path.resolve())) for name, path in files.items() if path is not None]
    placed = (("--home", str(home)), *given)
    return [*_without(options, ("--home", *files)), *(word for each in placed for word in each)]


def _without(options: Sequence[str], names: Sequence[str]) -> Iterator[str]:
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
    return dict(sorted(kept.items()))


def _units() -> Path:
    root = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    try:
        return Path(root).expanduser() / "systemd" / "user"
    except RuntimeError:
        raise Mendable("this user has no home folder; say where in XDG_CONFIG_HOME") from None
