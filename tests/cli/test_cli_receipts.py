"""`archipel receipts` and a model that earns: a meter named at a lab, revenue entered, statements of its holders."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from archipel import source_environment
from archipel.cli.archipel import command
from archipel.ledger.verification import lab_key
from archipel.market.journal import run_treasury
from archipel.market.receipts import Chain
from archipel.serve.meter_file import RECEIPTS
from cli.test_cli_ownership import Hall
from metered import METER, Book, row
from people import identity
from serve.served_models import tiny_model
from world import World

END_S = 60


@pytest.fixture
def hall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hall]:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path))
    monkeypatch.setattr("world.ORIGIN", lab_key(identity("lab").did).name)
    world = World(tmp_path / "store", ledger_on_disk=False)
    found = Hall(world, tmp_path)
    (tmp_path / "lab").mkdir()
    world.operator.save(tmp_path / "lab" / "operator.key", b"", anew=True)
    yield found
    world.check_replay()
    world.close()


def kept(folder: Path, book: Book) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / RECEIPTS).write_bytes(b"".join(book.lines))
    return folder


@pytest.mark.slow
def test_what_a_model_earned_is_entered_and_each_holder_s_statement_shows_its_part(
    hall: Hall,
) -> None:
    book = Book(hall.world.run("run").chain[-1].policy)
    book.due(1_000_000)
    folder = kept(hall.home / "meter", book)
    assert "name it first" in hall.refused("receipts", "enter", "run", folder)
    assert f"receipts of {METER.did} count for run" in hall.says("receipts", "name", "run", folder)
    first = json.loads(hall.says("receipts", "enter", "run", folder, "0.4", "--json"))
    assert (first["first"], first["last"], first["micro"], first["left_micro"]) == (
        1, 1, 400_000, 600_000,
    )  # fmt: skip
    assert "0.600000 credits that are still due are entered with the next receipt" in hall.refused(
        "receipts", "enter", "run", folder, "0.1"
    )
    book.due(2_000_000)
    kept(folder, book)
    assert "2.600000 credits to the holders of run, for receipts 2 to 2" in hall.says(
        "receipts", "enter", "run", folder
    )
    book.write(row("user", 0, 0))
    kept(folder, book)
    assert "nothing is due" in hall.refused("receipts", "enter", "run", folder)
    assert "no receipt 9" in hall.refused("receipts", "enter", "run", folder, "--upto", "9")
    page = hall.says("ownership", "run")
    assert "earned by being served: 3.000000 credits of the 3.000000 credits" in page
    total = 0
    for account in (hall.one.did, hall.two.did, hall.world.operator.did, run_treasury("run")):
        told = json.loads(hall.says("account", "statement", account, "--json"))
        rows = [each for each in told["movements"] if each["move"] == "earn"]
        assert [each["kind"] for each in rows] == ["revenue.entered"] * 2
        assert {each["about"] for each in rows} == {"run"}
        total += sum(each["micro"] for each in rows)
    assert total == 3_000_000
    statement = hall.says("account", "statement", hall.one.did, "--verify")
    assert "what a model earned goes to who holds the run's shares: run" in statement
    assert "all accounts together come to zero" in statement


def verified(*words: object) -> tuple[int, str]:
    ended = CliRunner().invoke(command, ["receipts", "verify", *map(str, words)])
    return ended.exit_code, f"{ended.exception} {ended.output}"


def test_receipts_are_checked_without_a_lab_and_what_is_wrong_is_named_by_its_line(
    tmp_path: Path,
) -> None:
    book = Book("sha256:" + "a" * 64)
    book.write(row("ann", 10, 20), row("bob", 1, 2))
    book.write(row("bob", 5, 6), is_after_break=True)
    folder = kept(tmp_path / "meter", book)
    code, page = verified(folder)
    assert code == 0
    assert f"2 receipts of {METER.did}" in page
    assert "cut off 1 time (before receipt 2)" in page
    told = json.loads(verified(folder / RECEIPTS, "--json")[1].removeprefix("None "))
    assert (told["receipts"], told["all"]["micro"], told["num_callers"]) == (2, 88, 2)
    lines = book.lines
    (folder / RECEIPTS).write_bytes(lines[0] + lines[1][:-30])
    code, page = verified(folder)
    assert code == 0
    assert "the last line is not whole" in page
    for wrong, why in (
        (lines[1], "line 1: receipt 2: it is the first here"),
        (lines[0] + lines[0], "line 2: receipt 1"),
        (lines[0] + b"nonsense\n", "line 2: no line of receipts"),
        (b"x" * 2_000_000, "line 1: a line of more than"),
        (b"", "has no receipt yet"),
    ):
        (folder / RECEIPTS).write_bytes(wrong)
        code, page = verified(folder)
        assert code
        assert why in page
    (folder / RECEIPTS).unlink()
    assert verified(folder)[0]


@pytest.mark.slow
def test_a_server_that_counts_is_killed_and_goes_on(tmp_path: Path) -> None:
    """As people start it: two lives, of which the first is killed."""
    model, folder, keys = tiny_model(tmp_path / "tiny"), tmp_path / "meter", tmp_path / "users"
    keys.write_text("ann sk-ann-0123456789\n")
    keys.chmod(0o600)
    words = [
        sys.executable, "-m", "archipel.cli.archipel", "serve", str(model), "--port", "0", "--threads", "1", "--keys",
        str(keys), "--meter", str(folder), "--price", "2", "--window", "0.2",
    ]  # fmt: skip
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), **source_environment()}
    told = 0
    for ending in (signal.SIGKILL, signal.SIGINT):
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            found = re.search(r"at (http://\S+) ", process.stdout.readline())
            assert found is not None
            body = {"model": "tiny", "prompt": "hello", "max_tokens": 9, "seed": 3}
            headers = {"authorization": "Bearer sk-ann-0123456789"}
            usage = httpx.post(
                f"{found[1]}/v1/completions", json=body, headers=headers, timeout=END_S
            ).json()["usage"]
            if ending == signal.SIGKILL:
                end_s = time.monotonic() + END_S
                while not (folder / RECEIPTS).exists():
                    assert process.poll() is None
                    assert time.monotonic() < end_s
                    time.sleep(0.02)
            process.send_signal(ending)
            _, said = process.communicate(timeout=END_S)
        told += usage["total_tokens"]
        assert ("was cut off" in said) == (ending == signal.SIGINT)
    chain = Chain()
    for line in (folder / RECEIPTS).read_bytes().splitlines():
        chain.take(line)
    assert chain.newest is not None
    total = chain.newest.receipt.all
    assert (total.answers, total.tokens_in + total.tokens_out, total.micro) == (2, told, 2 * told)
    assert chain.breaks == [2]
    code, page = verified(folder, "--keys", keys)
    assert code == 0
    assert "key 1" in page
