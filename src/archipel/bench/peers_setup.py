"""The other trainer's own virtual environment: made once, from pins, and recognised again.

Law: the pins name the exact versions that the published figures were measured with; a folder that was
made from other pins is refused, not reused.
"""

import subprocess
import sys
import venv
from pathlib import Path

TORCH = "torch==2.13.0"
"""First and alone, and the same as ours: the comparison is of trainers, not of tensor libraries."""
PINS = (
    "trl==1.16.0",
    "transformers==5.23.0",
    "accelerate==1.15.0",
    "datasets==5.2.0",
    "tokenizers==0.23.3",
    "safetensors==0.8.0",
    "numpy==2.4.6",
    "pydantic==2.14.3",  # for our recipe and environment
)
MARKER = "archipel-peers.txt"
INSTALL_LIMIT_S = 3600.0
TAIL_LINES = 15


class PeerUnavailable(RuntimeError):
    """The environment cannot be made or is another one; the message says what to do."""


def peer_python(folder: Path) -> Path:
    """The interpreter of the environment in `folder`, which is made if it is not there.

    Raises:
        PeerUnavailable: the folder holds something else, or pip could not install the pins.
    """
    python, marker = folder / "bin" / "python", folder / MARKER
    wanted = "\n".join((TORCH, *PINS)) + "\n"
    if marker.is_file():
        if marker.read_text() == wanted:
            return python
        raise PeerUnavailable(f"{folder} was made from other pins; remove it or name another")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        raise PeerUnavailable(f"{folder} is no virtual environment; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    venv.create(folder, with_pip=True)
    _install(python, (TORCH,))
    _install(python, (TORCH, *PINS))
    marker.write_text(wanted)
    return python


def _install(python: Path, requirements: tuple[str, ...]) -> None:
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *requirements]
    try:
        done = subprocess.run(  # noqa: S603  pip of the environment just made, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PeerUnavailable(f"pip took longer than {INSTALL_LIMIT_S:.0f} s") from None
    if done.returncode != 0:
        said = "\n".join(done.stdout.splitlines()[-TAIL_LINES:])
        raise PeerUnavailable(
            f"pip could not install {' '.join(requirements)} for Python "
            f"{sys.version_info.major}.{sys.version_info.minor}; mend the cause and run again, it "
            f"goes on where it stopped. Its last words:\n{said}"
        )
