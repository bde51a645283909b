"""What is read without an answer being sampled: vectors and probabilities are the network's own, in every dialect."""

import asyncio
import base64
import json
import math
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from archipel.engine.engine import LocalEngine
from archipel.engine.quantised.arithmetic import arithmetic_for
from archipel.model.dialogue import chat_ids
from archipel.model.directory import read_config, read_model
from archipel.records.requests import Request
from archipel.serve.access import Access
from archipel.serve.dialects.embeddings import OpenAIBody, ollama_told, openai_told
from archipel.serve.door import make_door
from archipel.serve.replies import _by_turns
from archipel.serve.served import Served
from archipel.serve.texts import Embedded, Texts
from archipel.work.folders import weights_of
from serve.served_models import NOW, served, tiny_model

TURN = [{"role": "user", "content": "hi"}]
LONG = "x" * 2000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("reads") / "tiny")


@pytest.fixture(scope="module")
def one(model: Path) -> Iterator[Served]:
    found = served(model)
    yield found
    found.desk.close()


@pytest.fixture(scope="module")
def engine(model: Path) -> LocalEngine:
    config = read_config(model)
    made = LocalEngine(config, arithmetic=arithmetic_for("bfloat16", config))
    made.load(weights_of(read_model(model)))
    return made


@pytest.fixture
def door(one: Served) -> TestClient:
    return TestClient(make_door({"tiny": one}, Access()), base_url="http://127.0.0.1:8450")


def sent(door: TestClient, path: str, **body: Any) -> dict[str, Any]:
    got = door.post(path, json={"model": "tiny"} | body)
    assert got.status_code == 200, got.text
    return got.json()


def classified(door: TestClient, choices: list[str], **more: Any) -> dict[str, dict[str, Any]]:
    got = sent(door, "/v1/classify", choices=choices, **more)
    assert math.fsum(row["probability"] for row in got["choices"]) == pytest.approx(1)
    assert got["choice"] == max(got["choices"], key=lambda row: row["probability"])["text"]
    return {row["text"]: row for row in got["choices"]}


def test_texts_become_the_engines_own_vectors_of_length_one(
    door: TestClient, one: Served, engine: LocalEngine
) -> None:
    texts = ["abc", "fox and hen", "fox"]
    prompts = [list(one.tokenizer.encode_prompt(each)) for each in texts]
    expected = torch.nn.functional.normalize(engine.embed(prompts), dim=1)
    got = sent(door, "/v1/embeddings", input=texts)
    found = torch.tensor([row["embedding"] for row in got["data"]])
    assert torch.allclose(found, expected, atol=1e-6)
    assert [row["index"] for row in got["data"]] == [0, 1, 2]
    assert got["usage"]["prompt_tokens"] == sum(map(len, prompts))
    assert sent(door, "/v1/embeddings", input=prompts) == got
    assert sent(door, "/v1/embeddings", input=prompts[0])["data"] == got["data"][:1]
    packed = sent(door, "/v1/embeddings", input=texts[0], encoding_format="base64")
    held = base64.b64decode(packed["data"][0]["embedding"])
    assert struct.unpack(f"<{len(held) // 4}f", held) == pytest.approx(got["data"][0]["embedding"])
    ollama = sent(door, "/api/embed", input=texts)
    assert ollama["embeddings"] == [row["embedding"] for row in got["data"]]
    old = torch.tensor(sent(door, "/api/embeddings", prompt=texts[0])["embedding"])
    assert torch.allclose(old, engine.embed(prompts[:1])[0], atol=1e-6), "as they are"


def test_a_vector_of_fewer_dimensions_is_the_beginning_of_the_whole_one(door: TestClient) -> None:
    (row,) = sent(door, "/v1/embeddings", input="abc", dimensions=5)["data"]
    (whole,) = sent(door, "/v1/embeddings", input="abc")["data"]
    few = torch.tensor(whole["embedding"][:5])
    assert row["embedding"] == pytest.approx((few / few.norm()).tolist())


def test_a_large_answer_is_made_and_sent_in_pieces_between_which_others_go_on() -> None:
    made: list[int] = []

    class Watched(Embedded):
        def unit(self, dimensions: int | None = None) -> tuple[float, ...]:
            made.append(self.num_tokens)
            return super().unit(dimensions)

    found = [Watched((3.0, 4.0), number) for number in range(3)]
    body, texts = OpenAIBody(model="m", input="x"), Texts("m", ("x",))
    for told, name in (
        (openai_told(body, found), "data"),
        (ollama_told(texts, found, 1), "embeddings"),
    ):
        made.clear()
        sent: list[tuple[int, str]] = []

        async def story(told: Iterable[bytes] = told, sent: list[Any] = sent) -> bytes:
            beside = asyncio.ensure_future(go_on(sent))
            pieces = [
                piece
                async for piece in _by_turns(told)
                if sent.append((len(made), "piece")) is None
            ]
            beside.cancel()
            return b"".join(pieces)

        whole = json.loads(asyncio.run(story()))
        assert len(whole[name]) == 3
        assert [turn for turn in sent if turn[1] == "piece"] == [
            (n, "piece") for n in (0, 1, 2, 3, 3)
        ]
        assert [turn[1] for turn in sent] == ["piece", "other"] * 5, (
            "somebody else had each second turn"
        )


async def go_on(sent: list[tuple[int, str]]) -> None:
    while True:
        sent.append((0, "other"))
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/embeddings", {"input": []}, "0 texts"),
        ("/v1/embeddings", {"input": ""}, "empty"),
        ("/v1/embeddings", {"input": [[]]}, "empty"),
        ("/v1/embeddings", {"input": ["a"] * 2049}, "2048"),
        ("/v1/embeddings", {"input": [[100_000]]}, "outside 0.."),
        ("/v1/embeddings", {"input": LONG}, "at most 512"),
        ("/v1/embeddings", {"input": "a", "dimensions": 33}, "vectors have 32"),
        ("/v1/embeddings", {"input": "a", "dimensions": 0}, "1 or more"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ("/api/embed", {"input": LONG, "truncate": False}, "at most 512"),
        ("/v1/classify", {"prompt": "x", "choices": ["a"]}, "1 choices"),
        ("/v1/classify", {"prompt": "x", "choices": ["a", "a"]}, "the same"),
        ("/v1/classify", {"prompt": "x", "choices": ["a", ""]}, "0 characters"),
        ("/v1/classify", {"prompt": "x", "choices": ["a"] * 257}, "2 to 256"),
        ("/v1/classify", {"choices": ["a", "b"]}, "either messages or prompt"),
        ("/v1/classify", {"prompt": "x", "messages": TURN, "choices": ["a", "b"]}, "either"),
        ("/v1/classify", {"prompt": "x", "choices": ["a", "b"], "prior": TURN}, "alike"),
        ("/v1/classify", {"prompt": "x", "choices": ["a", "b"], "length": "no"}, "length"),
        ("/v1/classify", {"prompt": LONG, "choices": ["a", "b"]}, "at most 512"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_one_sentence(
    door: TestClient, path: str, body: dict[str, Any], words: str
) -> None:
    got = door.post(path, content=json.dumps({"model": "tiny"} | body))
    assert got.status_code == 400
    assert words in str(got.json()["error"])
    assert door.post(path, content=json.dumps({"model": "other"} | body)).status_code in (400, 404)


def test_ollama_reads_a_text_that_is_too_long_as_far_as_it_can(door: TestClient) -> None:
    assert sent(door, "/api/embed", input=LONG)["prompt_eval_count"] == 512


def test_a_choices_probability_is_that_of_the_model_saying_exactly_this(
    door: TestClient, one: Served, engine: LocalEngine
) -> None:
    """By sampling: of many answers that are among the choices, so many are this one."""
    prompt = tuple(chat_ids(one.tokenizer, TURN, now=NOW))
    letters = ["a", "b", "ab", "é"]
    found = classified(door, letters, messages=TURN)
    ids = [tuple(one.tokenizer.encode(each)) for each in letters]
    ends = one.tokenizer.stop_ids
    for letter, tokens in zip(letters, ids, strict=True):
        scores = engine.score(prompt, [(*tokens, end) for end in ends])
        whole = math.fsum(math.exp(math.fsum(each)) for each in scores)
        assert found[letter]["logprob"] == pytest.approx(math.log(whole), abs=1e-4)
        assert found[letter]["num_tokens"] == len(tokens) + 1
    total = math.fsum(math.exp(row["logprob"]) for row in found.values())
    for row in found.values():
        assert row["probability"] == pytest.approx(math.exp(row["logprob"]) / total)
    (token,) = ids[0]
    likelihood = math.exp(engine.score(prompt, [(token,)])[0][0])
    request = Request("", prompt, 3, 2000, 1)
    sampled = [each.tokens[0] for each in engine.generate([request])[0]]
    share = sampled.count(token) / len(sampled)
    assert abs(share - likelihood) < 5 * math.sqrt(likelihood / len(sampled))


def test_means_do_not_favour_the_short_and_a_prior_takes_away_what_is_likely_anyway(
    door: TestClient,
) -> None:
    choices = ["a", "a" * 40]
    sums, means = (classified(door, choices, prompt="hi", length=each) for each in ("sum", "mean"))
    assert sums["a" * 40]["probability"] < 1e-6 < means["a" * 40]["probability"]
    same = classified(door, choices, messages=TURN, prior=TURN)
    assert [row["probability"] for row in same.values()] == pytest.approx([0.5, 0.5])
    other = [{"role": "user", "content": "N/A"}]
    plain, apart = (classified(door, ["x", "y"], messages=each) for each in (TURN, other))
    calibrated = classified(door, ["x", "y"], messages=TURN, prior=other)
    odds = {
        choice: plain[choice]["probability"] / apart[choice]["probability"] for choice in ("x", "y")
    }
    assert calibrated["x"]["probability"] == pytest.approx(odds["x"] / sum(odds.values()))
    assert calibrated["x"]["prior_logprob"] == pytest.approx(apart["x"]["logprob"])


def test_reading_beside_an_answer_changes_no_bit_of_either(door: TestClient) -> None:
    body = {"model": "tiny", "messages": TURN, "max_tokens": 30, "seed": 5, "logprobs": True}
    quiet = door.post("/v1/chat/completions", json=body).json()["choices"]
    alone = sent(door, "/v1/embeddings", input=["abc"])["data"]
    with door.stream(
        "POST", "/v1/chat/completions", json=body | {"max_tokens": 300, "stream": True}
    ):
        assert sent(door, "/v1/embeddings", input=["abc"])["data"] == alone
        assert door.post("/v1/chat/completions", json=body).json()["choices"] == quiet
