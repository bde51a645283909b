"""Receipts say what callers were told and nothing else, and a server that is cut off counts nothing twice and says so."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from archipel import source_environment
from archipel.identity import Identity
from archipel.market.receipts import Chain
from archipel.serve.access import LOCAL, Access, user
from archipel.serve.door import make_door
from archipel.serve.meter_file import KEY, OPEN, RECEIPTS, BadMeter
from archipel.serve.metering import Metering, Rate, callers_of
from archipel.serve.question import Question, Refusal, Settings
from archipel.serve.served import Served
from people import identity
from serve.served_models import NOW, served, tiny_model

WEIGHTS = "sha256:" + "a" * 64
METER = identity("meter")
ANN, BOB = "sk-ann-0123456789", "sk-bob-0123456789"
KEYED = Access(frozenset(), (ANN, BOB))
END_S = 60


def opened(folder: Path, access: Access = KEYED, by: Identity = METER, **rate: Any) -> Metering:
    said = Rate(**({"weights": WEIGHTS, "price_micro": 2_000_000, "window_s": 3600.0} | rate))
    return Metering(folder, by, said, callers_of(by, access))


def checked(folder: Path) -> Chain:
    chain = Chain()
    for line in (folder / RECEIPTS).read_bytes().splitlines():
        chain.take(line)
    return chain


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = served(tiny_model(tmp_path_factory.mktemp("metered") / "tiny"))
    yield found
    found.desk.close()


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Metering]:
    found = opened(tmp_path)
    yield found
    found.close()


def asked(one: Served, meter: Metering) -> TestClient:
    return TestClient(make_door({"tiny": replace(one, meter=meter)}, KEYED))


def by(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def chat(**more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": "hi"}]
    return {"model": "tiny", "messages": turns, "max_tokens": 8, "seed": 5} | more


def test_receipts_say_of_each_caller_what_its_answers_said_of_themselves(
    one: Served, meter: Metering, tmp_path: Path
) -> None:
    door, usage = asked(one, meter), list[dict[str, int]]()
    for key, more in ((ANN, {}), (BOB, {"n": 2}), (ANN, {"stream": True})):
        found = door.post(
            "/v1/chat/completions",
            json=chat(**more, **({"stream_options": {"include_usage": True}} if "stream" in more else {})),
            headers=by(key),
        )  # fmt: skip
        text = found.text if "stream" not in more else found.text.split("data: ")[-2]
        usage.append(json.loads(text)["usage"])
    embedded = door.post(
        "/v1/embeddings", json={"model": "tiny", "input": ["a", "text"]}, headers=by(BOB)
    ).json()
    weighing = {"model": "tiny", "messages": chat()["messages"], "choices": ["a", "bc"]}
    assert door.post("/v1/classify", json=weighing, headers=by(BOB)).status_code == 200
    assert door.post("/v1/chat/completions", json=chat(), headers=by("sk-nobody-0000000")).is_error
    assert door.post("/v1/chat/completions", json=chat(max_tokens=-1), headers=by(ANN)).is_error
    counted = {"model": "tiny", "messages": chat()["messages"]}
    assert door.post("/v1/messages/count_tokens", json=counted, headers=by(ANN)).status_code == 200
    meter.close()
    chain = checked(tmp_path)
    ann, bob = (chain.by_caller[callers_of(METER, KEYED)[user(place)]] for place in (0, 1))
    assert ann.answers == 2
    assert ann.tokens_in == usage[0]["prompt_tokens"] + usage[2]["prompt_tokens"]
    assert ann.tokens_out == usage[0]["completion_tokens"] + usage[2]["completion_tokens"]
    assert bob.answers == 1 + 2 + 1, "an answer, two texts, one choice"
    read = embedded["usage"]["prompt_tokens"] + usage[1]["prompt_tokens"]
    assert bob.tokens_in == read + usage[0]["prompt_tokens"]
    assert bob.tokens_out == usage[1]["completion_tokens"]
    assert chain.newest is not None
    assert chain.newest.receipt.all.micro == ann.micro + bob.micro
    assert ann.micro == 2 * (ann.tokens_in + ann.tokens_out)


def test_receipts_hold_no_prompt_no_answer_and_no_key(
    one: Served, meter: Metering, tmp_path: Path
) -> None:
    body = chat() | {"messages": [{"role": "user", "content": "a secret of mine"}]}
    said = asked(one, meter).post("/v1/chat/completions", json=body, headers=by(ANN)).json()
    meter.close()
    data = (tmp_path / RECEIPTS).read_bytes()
    answer = said["choices"][0]["message"]["content"]
    for text in ("secret", ANN, answer, said["id"]):
        assert text.encode() not in data
    other = callers_of(identity("another meter"), KEYED)
    assert not set(other.values()) & set(callers_of(METER, KEYED).values()), "salted by the key"
    moved = callers_of(METER, Access(frozenset(), (BOB, ANN)))
    assert moved[user(1)] == callers_of(METER, KEYED)[user(0)], "a key keeps its name on any line"


class Tally:
    """Who is told of answers."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def count(self, key: str, *, tokens_in: int, tokens_out: int = 0) -> None:
        assert key == LOCAL
        self.seen.append((tokens_in, tokens_out))


def test_who_hangs_up_is_counted_once_and_as_far_as_it_came_and_what_failed_is_not(
    one: Served,
) -> None:
    tally = Tally()
    metered = replace(one, meter=tally)
    question = Question("tiny", Settings(max_new_tokens=400, seed=3), text="hello")

    async def hear(num_words: int, fault: bool = False) -> int:
        answer = await metered.ask(question, LOCAL, NOW)
        heard = 0
        with contextlib.suppress(Refusal):
            async for _ in answer.told():
                heard += 1
                if heard == num_words and fault:
                    answer.listener.fail(Refusal("the engine broke"))
                elif heard == num_words:
                    break
        answer.leave()
        answer.leave()
        return answer.num_tokens

    told = asyncio.run(hear(3))
    assert 3 <= told < 400
    assert [num_out for _, num_out in tally.seen] == [told]
    assert tally.seen[0][0] > 0
    asyncio.run(hear(3, fault=True))
    assert len(tally.seen) == 1

    async def never() -> None:
        (await metered.ask(question, LOCAL, NOW)).leave()

    asyncio.run(never())
    assert len(tally.seen) == 1, "nothing was told"


def test_nothing_asked_is_no_receipt_and_windows_follow_each_other(tmp_path: Path) -> None:
    meter = opened(tmp_path, Access(), now_ms=iter([5000, 6000, 4000]).__next__)
    assert not meter.write()
    for _ in range(2):  # the second time by a clock that was set back
        meter.count(LOCAL, tokens_in=1)
        assert meter.write()
    meter.close()
    assert not (tmp_path / OPEN).exists()
    newest = checked(tmp_path).newest
    assert newest is not None
    assert (newest.receipt.number, newest.receipt.from_ms, newest.receipt.until_ms) == (
        2,
        6000,
        6000,
    )


def test_a_later_server_goes_on_where_the_one_before_ended_at_another_price(tmp_path: Path) -> None:
    for price in (1_000_000, 3_000_000):
        meter = opened(tmp_path, Access(), price_micro=price)
        assert not meter.is_after_break
        meter.count(LOCAL, tokens_in=10)
        meter.close()
        meter.close()
    newest = checked(tmp_path).newest
    assert newest is not None
    assert newest.receipt.all.micro == 10 + 30


def test_a_folder_is_of_one_server_one_key_and_one_model(tmp_path: Path) -> None:
    meter = opened(tmp_path, Access())
    meter.count(LOCAL, tokens_in=1)
    with pytest.raises(BadMeter, match="another server counts"):
        opened(tmp_path, Access())
    meter.close()
    with pytest.raises(BadMeter, match="restore its key"):
        opened(tmp_path, Access(), by=identity("forger"))
    with pytest.raises(BadMeter, match="counts what weights"):
        opened(tmp_path, Access(), weights="sha256:" + "b" * 64)
    opened(tmp_path, Access()).close()


def test_a_line_that_is_not_whole_is_cut_off_and_one_that_was_changed_is_refused(
    tmp_path: Path,
) -> None:
    meter = opened(tmp_path, Access())
    for _ in range(2):
        meter.count(LOCAL, tokens_in=1)
        meter.write()
    meter.close()
    path = tmp_path / RECEIPTS
    data = path.read_bytes()
    whole = data.index(b"\n") + 1
    for size in (len(data) - 1, whole + 1, 5):
        path.write_bytes(data[:size])
        meter = opened(tmp_path, Access())
        assert meter.is_after_break
        assert path.read_bytes() == (data[:whole] if size > whole else b"")
        meter.count(LOCAL, tokens_in=1)
        meter.close()
        chain = checked(tmp_path)
        assert chain.breaks == [2 if size > whole else 1]
    path.write_bytes(data.replace(b'"tokens_in":1', b'"tokens_in":2'))
    with pytest.raises(BadMeter, match="damaged"):
        opened(tmp_path, Access())


def counting(folder: Path, limit: int = 0, *, mended: bool = True) -> "subprocess.Popen[str]":
    path = str(Path(__file__).parents[1])
    found = source_environment()
    found["PYTHONPATH"] = os.pathsep.join([found.get("PYTHONPATH", ""), path])
    words = [sys.executable, "-m", "serve.counting", str(folder), str(limit), str(int(mended))]
    environment = {"PATH": os.defpath, "HOME": str(folder), **found}
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)


def test_what_is_killed_counts_nothing_twice_and_loses_no_more_than_a_window(
    tmp_path: Path,
) -> None:
    begun = written = 0
    for life in range(3):
        with counting(tmp_path) as process:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == ("break" if life else "whole")
            base_begun, base_written = begun, written
            for line in process.stdout:
                word, number = line.split()
                if word == "counting":
                    begun = base_begun + int(number)
                else:
                    written = base_written + int(number)
                if int(number) == 20 + 3 * life:
                    process.send_signal(signal.SIGKILL)
        chain = checked_whole(tmp_path)
        assert chain.newest is not None
        total = chain.newest.receipt.all
        assert written <= total.answers <= begun
        assert total.tokens_out == 4 * total.answers
        assert chain.breaks == sorted(chain.breaks)
        assert len(chain.breaks) == life, "the first receipt of a life after a kill says so"
        begun = written = total.answers


def checked_whole(folder: Path) -> Chain:
    """Up to the last line that is whole."""
    chain = Chain()
    for line in (folder / RECEIPTS).read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            chain.take(line[:-1])
    return chain


@pytest.mark.parametrize("mended", [True, False])
def test_what_a_full_disk_does_not_take_is_in_the_next_receipt_or_said_to_be_lost(
    tmp_path: Path, mended: bool
) -> None:
    with counting(tmp_path, limit=2500, mended=mended) as process:
        assert process.stdout is not None
        said = process.stdout.read().splitlines()
        assert process.wait(END_S) == 0
    assert "full" in said
    assert (tmp_path / RECEIPTS).read_bytes().endswith(b"\n"), "no part of a line is left"
    wrote = [int(line.split()[1]) for line in said if line.startswith("written")]
    newest = checked(tmp_path).newest
    assert newest is not None
    begun = sum(line.startswith("counting") for line in said)
    assert newest.receipt.all.answers == (begun if mended else max(wrote))
    own = Identity.load(tmp_path / KEY)
    meter = Metering(tmp_path, own, Rate(WEIGHTS), {LOCAL: "0" * 16})
    assert meter.is_after_break is not mended
    meter.close()
