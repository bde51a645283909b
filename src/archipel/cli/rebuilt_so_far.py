"""What was made again of a release by earlier calls, kept beside it: never inside, where it would be another release's bytes.

Law: it belongs to one release, one secret, one software and one machine with so many threads; of another it is not read.
"""

from dataclasses import asdict
from pathlib import Path

from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.kept import Damaged, kept, read_kept
from archipel.release.stages import Outcome

FILE = "stages.json"
MAX_BYTES = 64 * 1024 * 1024
KEY_DIGITS = 24


def folder_of(
    root: Path, release: str, secret: bytes | None, software: str, by: tuple[str, int]
) -> Path:
    """Where everything of such a rebuild lies, below `root`.

    release: digest of its release.json. software: digest of the code that makes it again. by: (class of the machine,
    threads).
    """
    mark = None if secret is None else sha256_digest(b"the secret of a rebuild\n" + secret)
    said = {"release": release, "secret": mark, "software": software, "by": list(by)}
    return root / sha256_digest(canonical_json(said)).removeprefix("sha256:")[:KEY_DIGITS]


def read_outcomes(folder: Path) -> dict[str, Outcome]:
    """Stage -> what came of it; those that could not be looked at are asked again. Of a damaged file nothing."""
    path = folder / FILE
    try:
        if path.stat().st_size > MAX_BYTES:
            return {}
        said = read_kept(path.read_bytes(), strict=True)["stages"]
        found = [Outcome(**each) for each in said]
    except (OSError, Damaged, KeyError, TypeError):
        return {}
    return {each.stage: each for each in found if each.came != "not shown"}


def keep_outcomes(folder: Path, came: dict[str, Outcome]) -> None:
    """All of them, whole or not at all.

    Raises:
        OSError: the disk.
    """
    aside = folder / f".{FILE}.partial"
    aside.write_bytes(kept({"stages": [asdict(each) for each in came.values()]}))
    aside.replace(folder / FILE)
