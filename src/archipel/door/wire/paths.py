"""`tinker://` names of checkpoints: what they mean, and which names there may be.

Law: a name is never a path of a file; whoever keeps checkpoints has ids of their own for folders.
"""

import re
from dataclasses import dataclass
from typing import Literal

from archipel.door.wire.bounds import MAX_CHECKPOINT_CHARACTERS
from archipel.door.wire.errors import Refused

SCHEME = "tinker://"
CheckpointKind = Literal["training", "sampler", "external"]
"""With moments; the adapter, to sample from; the adapter, to take away."""
SEGMENTS: dict[str, CheckpointKind] = {
    "weights": "training",
    "sampler_weights": "sampler",
    "external_weights": "external",
}
_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.\-]{{0,{MAX_CHECKPOINT_CHARACTERS - 1}}}")
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\-]{0,127}")


@dataclass(frozen=True)
class CheckpointPath:
    """One checkpoint of one model."""

    model: str
    kind: CheckpointKind
    name: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.model}/{self.id}"

    @property
    def id(self) -> str:
        """As listings and addresses name it within its model: `weights/NAME`."""
        segment = next(each for each, kind in SEGMENTS.items() if kind == self.kind)
        return f"{segment}/{self.name}"


def checkpoint_name(said: str) -> str:
    """A name a tenant gives a checkpoint.

    Raises:
        Refused: `impossible`: letters, digits, `_`, `-` and `.` alone make a name.
    """
    if _NAME.fullmatch(said) is None:
        raise Refused(
            "impossible",
            f"{said!r:.60} is no name of a checkpoint; expected 1 to {MAX_CHECKPOINT_CHARACTERS} letters, digits, "
            "'_', '-' and '.', of which the first is no '-' or '.'",
        )
    return said


def checkpoint_id(model: str, said: str) -> CheckpointPath:
    """What stands in an address after `training_runs/MODEL/checkpoints/`.

    Raises:
        Refused: `not_found`: nothing can be there.
    """
    return read_path(f"{SCHEME}{model}/{said}")


def read_path(said: str) -> CheckpointPath:
    """A whole name.

    Raises:
        Refused: `impossible`: it does not begin like one; `not_found`: nothing can be there.
    """
    if not said.startswith(SCHEME):
        raise Refused(
            "impossible",
            f"{said!r:.60} is no path of a checkpoint; expected {SCHEME}MODEL/weights/NAME",
        )
    parts = said.removeprefix(SCHEME).split("/")
    if len(parts) != 3 or parts[1] not in SEGMENTS:
        raise _missing(said)
    model, segment, name = parts
    if _MODEL.fullmatch(model) is None or _NAME.fullmatch(name) is None:
        raise _missing(said)
    return CheckpointPath(model, SEGMENTS[segment], name)


def _missing(said: str) -> Refused:
    return Refused("not_found", f"there is no checkpoint {said!r:.200}, or it is not yours")
