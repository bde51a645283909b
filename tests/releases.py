"""A release made by the commands, and looked at by somebody who believes nobody."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from archipel.cli.archipel import run
from archipel.records.canonical import canonical_json
from archipel.release.oms.folder import sign_folder
from archipel.release.oms.key import SigningKey
from archipel.release.verify.files import look_at_digests, look_at_paths, look_at_signature
from archipel.release.verify.ledger import look_at_transitions, look_at_tree
from archipel.release.verify.looking import verify
from archipel.release.verify.report import Expected, Looked, Report
from tiny import NAME

LIAR = SigningKey.from_scalar(11)


def said(*arguments: str, code: int = 0) -> str:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run(["release", *arguments])
    assert int(ended.value.code or 0) == code, out.getvalue() + err.getvalue()
    if code:
        assert "Traceback" not in err.getvalue()
    return out.getvalue() + err.getvalue()


def made(folder: Path, name: str, *more: str, home: str = "lab") -> Path:
    words = ["--home", str(folder / home), "--out", str(folder / name)]
    own = ["--stated", str(folder / "release.toml"), "--secret-file", str(folder / "secret")]
    said("make", NAME, *words, *own, *more)
    return folder / name


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def looked_at(folder: Path, expected: Expected = Expected()) -> Report:  # noqa: B008  frozen
    return verify(folder, expected, lambda where: None)


def quick(folder: Path) -> list[str]:
    """Faults of the steps that look at every byte."""
    looked = Looked(folder, Expected(), lambda where: None)
    for look in (look_at_paths, look_at_signature, look_at_digests):
        look(looked)
    return [fault for step in looked.steps for fault in step.faults]


@contextmanager
def spoilt(path: Path) -> Iterator[None]:
    data = path.read_bytes()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(data)


def signed_again(folder: Path) -> None:
    """By somebody who changed it, and is consistent about that."""
    (folder / "release.pem").write_bytes(LIAR.public.pem)
    (folder / "release.sig").unlink()
    (folder / "release.sig").write_bytes(sign_folder(folder, "m", LIAR, "release.sig"))


def with_index(folder: Path, **changed: object) -> None:
    fields = json.loads((folder / "release.json").read_bytes())
    (folder / "release.json").write_bytes(canonical_json(fields | changed))


def faults(bundle: Path) -> str:
    """Of one that was changed, once it is signed anew."""
    signed_again(bundle)
    return "\n".join(looked_at(bundle).faults)


def heard(bundle: Path) -> Looked:
    """With its ledger replayed."""
    looked = Looked(bundle, Expected(), lambda where: None)
    for look in (look_at_paths, look_at_tree, look_at_transitions):
        look(looked)
    return looked
