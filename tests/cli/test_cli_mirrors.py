"""What a lab is told of mirrors on its command line, and what a hostile lab can take of the process that mirrors it: nothing."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from archipel.blobs import BlobStore
from archipel.cli import mirror_rounds
from archipel.cli.archipel import run
from archipel.cli.mirror_rounds import Mirrored, Rounds, _Paced
from archipel.cli.mirror_words import mirror_lines
from archipel.cli.mirroring import Mirrors, mirror_options
from archipel.lab.mirrors.blobs import NotNow
from archipel.ledger.evidence import written
from archipel.ledger.storage import LedgerUnavailable
from archipel.ledger.tiles import ENTRIES, Place
from archipel.records.fields import BlobRef
from archipel.records.mirror_documents import MirrorFault, MirrorView
from ledger.test_evidence import FORK, LAB, OBSERVER, ONE, ROLLBACK, TWO, evidence
from people import identity


def given(*words: str) -> Mirrors:
    """What these options say."""
    said: list[Mirrors] = []

    @click.command()
    @mirror_options
    def command(mirrors: Mirrors) -> None:
        said.append(mirrors)

    outcome = CliRunner().invoke(command, list(words))
    if outcome.exit_code:
        raise ValueError(outcome.output)
    return said[0]


def test_a_mirror_is_named_by_its_address_or_by_its_owner() -> None:
    said = given(
        *("--mirror", "https://other.example/", "--mirror", "x=http://10.0.0.1:8440,http://10.0.0.2:8440"),
        *("--compare", "https://third.example", "--mirror-gb", "3"),
    )  # fmt: skip
    assert said.urls == {
        "other.example": "https://other.example",
        "x": "http://10.0.0.1:8440,http://10.0.0.2:8440",
    }
    assert said.gb == 3
    assert said.compare == ("https://third.example", *said.urls.values())
    assert given().urls == {}


@pytest.mark.parametrize("words", [
    ("--mirror", "../x=http://a"), ("--mirror", "x=http://a", "--mirror", "x=http://b"), ("--mirror", "x=ftp://a"),
    ("--mirror", ".x=http://a"), ("--mirror", "http://a", "--mirror", "http://a"),
    tuple(word for n in range(17) for word in ("--mirror", f"m{n}=http://a{n}")),
])  # fmt: skip
def test_names_that_lead_elsewhere_or_twice_to_one_place_are_refused(
    words: tuple[str, ...],
) -> None:
    with pytest.raises(ValueError, match="mirror"):
        given(*words)


class Dripping:
    """A lab that shows entries without end."""

    def head(self, did: str) -> Any:
        raise AssertionError(did)

    def entries(self, size: int, start: int = 0) -> Iterator[bytes]:
        while True:
            yield b"x"


def test_who_drips_or_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def slowly() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(time, "monotonic", slowly)
    coming = _Paced(Dripping(), lambda line: None).entries(10**9)  # type: ignore[arg-type]  # by shape
    with pytest.raises(LedgerUnavailable, match="expected 50 a second"):
        list(islice(coming, 1000))


def test_another_place_that_drips_is_left_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever compares with it would look at the mirrored lab no more."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def slowly(path: str, most: int) -> bytes:
        now[0] += 10.0
        return b"x"

    read = mirror_rounds._paced(slowly)
    for number in range(20):  # 256 entries in 10 s
        assert read(f"/{Place(ENTRIES, number, 256).path}", 1) == b"x"
    idle = mirror_rounds._paced(slowly)
    paths = [f"/{Place(0, number, 256).path}" for number in range(20)]
    with pytest.raises(LedgerUnavailable, match="0 entries came in 130 s"):
        [idle(path, 1) for path in paths]


class Slow:
    """A place whose blobs drip."""

    async def fetch(self, blob: BlobRef, store: BlobStore) -> None:
        await asyncio.sleep(60)


def test_a_blob_of_any_size_ends_with_its_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a pace by its size a blob of many gigabytes kept the next look waiting for days."""
    monkeypatch.setattr(mirror_rounds, "BLOBS_S", 0.01)
    blob = BlobRef(digest="sha256:" + "0" * 64, size=2**43)
    fetcher = mirror_rounds._Fetcher([])
    with pytest.raises(NotNow):
        fetcher._fetch_from(Slow(), blob, None)  # type: ignore[arg-type]  # by shape
    with fetcher:
        pass


def test_a_lab_that_is_not_there_is_silent_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_rounds, "ANSWER_LIMIT_S", 1.0)
    what = Mirrored("x", "http://127.0.0.1:1", tmp_path, patience_s=0.0, compare=("http://127.0.0.1:1",))  # fmt: skip
    view = Rounds(what, identity("observer")).once(MirrorView(name="x", lab="", url=what.url))
    assert (view.standing, view.lab, view.entries, view.faults) == ("silent", "", 0, ())
    assert "connection refused" in view.reason
    assert list(tmp_path.iterdir()) == []


def said(*words: str, code: int) -> str:
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run(["ledger", "evidence", *words])
    assert int(ended.value.code or 0) == code, out.getvalue() + err.getvalue()
    assert "Traceback" not in err.getvalue()
    return out.getvalue() + err.getvalue()


def test_a_file_of_evidence_says_what_is_shown_and_what_is_the_observers_word(
    tmp_path: Path,
) -> None:
    file = tmp_path / "x.evidence"
    file.write_bytes(written(evidence(FORK, ONE[:20], TWO), OBSERVER))
    told = said(str(file), code=0)
    assert "two histories" in told
    assert "no word of the observer is needed" in told
    assert OBSERVER.did in told
    assert '"sizes"' in said(str(file), "--json", "--expect", LAB.did, code=0)
    assert "expected" in said(str(file), "--expect", OBSERVER.did, code=1)
    file.write_bytes(written(evidence(ROLLBACK, ONE, ONE[:20]), OBSERVER))
    assert "is the observer's word" in said(str(file), code=0)
    file.write_bytes(b"{}")
    assert "no file of evidence" in said(str(file), code=1)


def test_a_mirrored_lab_is_said_in_a_line_and_each_fault_in_one() -> None:
    faults = (
        MirrorFault(kind="rollback", at_ms=1, words="went back", over_ms=2, evidence="r.evidence"),
        MirrorFault(kind="broken", at_ms=3, words="entry 7: no", entry=7),
    )
    view = MirrorView(name="x", lab="", url="", standing="broken", reason="why", faults=faults)
    assert list(mirror_lines([view.model_dump()])) == [
        "mirror x: 0 entries, 0 of 0 blobs; the lab broke a rule of its ledger (why)",
        "  rollback: went back; evidence/r.evidence; it caught up since",
        "  broken: entry 7: no",
    ]
