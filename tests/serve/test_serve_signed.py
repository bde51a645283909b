"""Answers of a served model can be asked for again, are signed, and are recomputed by whoever has the model."""

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.engine.engine import LocalEngine
from archipel.engine.protocol import Events
from archipel.engine.steadiness import Unsteady
from archipel.identity import Envelope
from archipel.serve.question import Question, Settings
from archipel.serve.served import Served, check_steady, with_adapters
from archipel.serve.signed.document import (
    BadAnswer,
    SignedAnswer,
    read_answer,
    sealed,
)
from archipel.serve.signed.keeping import Bounds, NotYet
from archipel.serve.signed.verifying import OtherModel
from people import identity
from serve.served_models import NOW, tiny_model
from serve.signed_world import ANN, BOB, SIGNER, Place, again, promised
from serve.test_serve_adapters import tiny_adapter

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
LONG = "a text of many tokens, so that it is read in pieces " * 6
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}


def turn(text: str = "hi", **more: Any) -> dict[str, Any]:
    """A body of a chat."""
    turns = [{"role": "user", "content": text}]
    return {"model": "tiny", "messages": turns, "max_tokens": 9} | more


def text(prompt: str = "hello", **more: Any) -> dict[str, Any]:
    """A body of a completion."""
    return {"model": "tiny", "prompt": prompt, "max_tokens": 9, "seed": 3} | more


MANY: list[tuple[str, dict[str, Any]]] = [
    (CHAT, turn()),
    (CHAT, turn(LONG, n=3, temperature=0.7, seed=4)),
    (CHAT, turn(LONG + "again", max_tokens=20, seed=2**63)),
    (TEXT, text(temperature=0)),
    (TEXT, text(top_p=0.8, top_k=20, min_p=0.01, logprobs=3)),
    (TEXT, text(LONG, logit_bias={"70": 4.5, "71": -100}, presence_penalty=0.5, frequency_penalty=0.3)),
    (TEXT, text(stop=["a", "e"], max_tokens=60)),
    (CHAT, turn(response_format={"type": "json_schema", "json_schema": {"schema": SCHEMA}}, max_tokens=40)),
    (CHAT, turn(tools=[TOOL], tool_choice="required", max_tokens=80, parallel_tool_calls=True)),
    (CHAT, turn(tools=[TOOL], parallel_tool_calls=False)),
    ("/v1/messages", turn(top_k=9)),
    ("/v1/responses", {"model": "tiny", "input": "hi", "max_output_tokens": 5}),
    ("/api/generate", {"model": "tiny", "prompt": "x", "stream": False, "options": {"num_predict": 7, "repeat_penalty": 1.3}}),
    (CHAT, turn(LONG, n=3, temperature=0.7, seed=4, stream=True)),
]  # fmt: skip
PLAIN = [
    each for each in MANY if not {"top_p", "top_k", "logit_bias", "response_format"} & {*each[1]}
][:5]
"""What the exact contract samples, too."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_model(tmp_path_factory.mktemp("signed") / "tiny")


@pytest.fixture(scope="module")
def one(model: Path) -> Iterator[Served]:
    found = promised(model)
    yield found
    found.desk.close()


@pytest.fixture(scope="module")
def exact(model: Path) -> Iterator[Served]:
    found = promised(model, "w7a8")
    yield found
    found.desk.close()


@pytest.fixture(scope="module")
def file(exact: Served) -> bytes:
    """One signed answer, by the exact contract."""
    return Place({"tiny": exact}).together([(CHAT, turn(n=2, seed=7))])[0]


@pytest.mark.parametrize(
    "asked", [MANY[1::3], pytest.param(MANY, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_every_honest_answer_under_load_is_the_same_when_it_is_recomputed(
    one: Served, model: Path, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    place = Place({"tiny": one})
    place.together(asked)  # beginnings of prompts are known then
    files = place.together(asked)
    for (path, body), data in zip(asked, files, strict=True):
        answer, found = again(data, model)
        assert found.is_promised, path
        assert not found.differences, (path, body, found.differences)
        assert found.num_equal == found.num_tokens > 0
        assert answer.request.choices == body.get("n", 1)


@pytest.mark.slow
@pytest.mark.parametrize("exact", [None, "w7a8"])
def test_guessed_tokens_change_nothing_of_it(model: Path, exact: str | None) -> None:
    guessing = promised(model, exact, draft="prompt")
    assert check_steady({"tiny": guessing}) == 4
    for data in Place({"tiny": guessing}).together(PLAIN):
        assert not again(data, model)[1].differences
    guessing.desk.close()


def test_a_streamed_answer_is_signed_like_a_whole_one(one: Served) -> None:
    files = Place({"tiny": one}).together([MANY[1], MANY[-1]])
    first, second = (read_answer(each)[0] for each in files)
    assert (first.choices, first.request) == (second.choices, second.request)


@pytest.mark.slow
def test_by_the_exact_contract_too_and_nothing_of_the_machine_is_named(
    exact: Served, model: Path
) -> None:
    for data in Place({"tiny": exact}).together(PLAIN):
        answer, found = again(data, model)
        assert not found.differences
        assert (answer.threads, answer.is_exact) == (None, True)
        assert answer.fingerprint == f"{answer.contract}-w{answer.weights[7:23]}"


def test_what_the_exact_contract_does_not_sample_is_refused_by_name_and_disturbs_nobody(
    exact: Served,
) -> None:
    place = Place({"tiny": exact})

    async def ask() -> list[tuple[int, str]]:
        async with place.client() as client:
            asked = [
                (TEXT, text(top_p=0.8)), (TEXT, text(logprobs=3)), (TEXT, text(logit_bias={"7": 1})),
                (CHAT, turn(response_format={"type": "json_object"})), (CHAT, turn()),
                (TEXT, text(top_p=0.8, temperature=0)),
            ]  # fmt: skip
            got = await asyncio.gather(*(client.post(path, json=body) for path, body in asked))
            return [(each.status_code, each.text) for each in got]

    found = asyncio.run(ask())
    assert [status for status, _ in found] == [400, 400, 400, 400, 200, 200]
    for (_, said), name in zip(
        found, ("top_p", "top_logprobs", "logit_bias", "response_format"), strict=False
    ):
        assert f'"param":"{name}"' in said


@pytest.mark.slow
def test_adapters_of_one_base_are_signed_with_what_lies_over_it(
    model: Path, tmp_path: Path
) -> None:
    folders = {
        name: tiny_adapter(tmp_path / name, model, n) for n, name in enumerate(("law", "sea"))
    }
    served = with_adapters(promised(model), model, folders)
    assert check_steady(served) == 12
    files = Place(served).together([(CHAT, turn(LONG, model=name, n=2)) for name in served])
    found = dict(zip(served, files, strict=True))
    for name, data in found.items():
        answer, recomputed = again(data, model, folders.get(name))
        assert not recomputed.differences, name
        assert recomputed.is_promised
        assert "-beside-adapters" in answer.fingerprint
    with pytest.raises(OtherModel, match="--adapter"):
        again(found["law"], model)
    with pytest.raises(OtherModel, match="digest"):
        again(found["law"], model, folders["sea"])
    next(iter(served.values())).desk.close()


def test_no_bit_of_a_file_can_be_changed(file: bytes) -> None:
    draw = random.Random(5)
    for _ in range(400):
        spoilt, at = bytearray(file), draw.randrange(len(file))
        spoilt[at] ^= 1 << draw.randrange(8)
        if spoilt.strip() != file:
            with pytest.raises(BadAnswer):
                read_answer(bytes(spoilt))


def changed(answer: SignedAnswer, **fields: Any) -> SignedAnswer:
    return answer.model_copy(update=fields)


def lies(answer: SignedAnswer) -> dict[str, SignedAnswer]:
    """What somebody might sign instead."""
    first, second = answer.choices
    ask = answer.request

    def with_choice(**fields: Any) -> SignedAnswer:
        return changed(answer, choices=(first, second.model_copy(update=fields)))

    def with_request(**fields: Any) -> SignedAnswer:
        return changed(answer, request=ask.model_copy(update=fields))

    tokens, bits = second.tokens, second.logprobs
    return {
        "token": with_choice(tokens=(*tokens[:3], tokens[3] ^ 1, *tokens[4:])),
        "last token": with_choice(tokens=(*tokens[:-1], tokens[-1] ^ 1)),
        "log-probability": with_choice(logprobs=(*bits[:5], bits[5] ^ 1, *bits[6:])),
        "end": with_choice(finished=not second.finished),
        "shorter": with_choice(tokens=tokens[:-1], logprobs=bits[:-1]),
        "choices swapped": changed(answer, choices=(second, first)),
        "prompt": with_request(prompt=(*ask.prompt[:-2], ask.prompt[-2] ^ 1, ask.prompt[-1])),
        "seed": with_request(seed=str(int(ask.seed) + 1)),
        "temperature": with_request(temperature="0.99"),
        "limit": with_request(max_new_tokens=ask.max_new_tokens + 1),
        "contract": changed(answer, contract="exact-1-w7a15-6dabffb7aa3972f0"),
        "weights": changed(answer, weights="sha256:" + "0" * 64),
        "tokenizer": changed(answer, tokenizer="sha256:" + "0" * 64),
    }


def test_whoever_signs_anything_but_what_comes_out_is_found(file: bytes, model: Path) -> None:
    answer, _ = read_answer(file)
    _, honest = again(sealed(answer, SIGNER), model)
    assert not honest.differences
    for what, lie in lies(answer).items():
        if what in ("weights", "tokenizer"):
            with pytest.raises(OtherModel, match=what):
                again(sealed(lie, SIGNER), model)
            continue
        _, found = again(sealed(lie, SIGNER), model)
        assert found.is_promised
        assert found.differences, what
        assert found.num_equal < found.num_tokens or what in ("end", "shorter", "limit")


def test_without_a_seed_it_follows_from_the_prompt_and_is_told(one: Served) -> None:
    place = Place({"tiny": one})

    async def ask() -> list[tuple[str, str]]:
        async with place.client() as client:
            bodies = [turn(), turn(), turn("ho"), turn(LONG)]
            got = [await client.post(CHAT, json=body) for body in bodies]
            seed = got[0].headers["archipel-seed"]
            got.append(await client.post(CHAT, json=turn(seed=int(seed))))
            return [(each.headers["archipel-seed"], each.json()["choices"][0]["message"]["content"]) for each in got]  # fmt: skip

    first, second, other, longer, said = asyncio.run(ask())
    assert first == second == said
    assert len({first[0], other[0], longer[0]}) == 3


def test_an_answer_is_for_whoever_asked_once_it_is_whole_and_for_a_while(one: Served) -> None:
    place = Place({"tiny": one}, Bounds(answers=2, seconds=0.3), (ANN, BOB))

    async def ask() -> None:
        async with place.client(ANN) as ann, place.client(BOB) as bob:

            async def fetched(client: httpx.AsyncClient, name: str) -> tuple[int, str]:
                got = await client.get(f"/v1/answers/{name}")
                return got.status_code, got.text

            async with ann.stream("POST", CHAT, json=turn(stream=True)) as under_way:
                name = under_way.headers["archipel-answer"]
                # The transport of this process hears an answer out before it hands it on.
                assert (await fetched(ann, name))[0] == 200
            status, said = await fetched(bob, name)
            assert (status, "no answer" in said) == (404, True)
            assert (await fetched(ann, "none"))[0] == 404
            more = [
                (await ann.post(CHAT, json=turn())).headers["archipel-answer"] for _ in range(2)
            ]
            found = [(await fetched(ann, each))[0] for each in (name, *more)]
            assert found == [404, 200, 200], "no more than two"
            await asyncio.sleep(0.5)
            assert place.signing.num_kept == 0, "gone without anybody asking"

    asyncio.run(ask())


def test_an_answer_that_is_under_way_is_not_there_yet(one: Served) -> None:
    place = Place({"tiny": one})

    async def ask() -> None:
        question = Question("tiny", Settings(max_new_tokens=5), text="x")
        answer = await one.ask(question, "ann", NOW)
        name = place.signing.expect(answer)
        assert name is not None
        with pytest.raises(NotYet, match="not whole"):
            await place.signing.fetch(name, "ann")
        answer.leave()

    asyncio.run(ask())


class Swayed(LocalEngine):
    """Log-probabilities move as soon as several are sampled at once, as they do where sums take another order."""

    def step(self) -> Events:
        events = super().step()
        if len({ticket for ticket, _ in events.owners}) < 2:
            return events
        ended = {owner: replace(each, logprobs=tuple(p + 1e-7 for p in each.logprobs)) for owner, each in events.ended.items()}  # fmt: skip
        return replace(events, ended=ended)


def test_a_server_whose_answers_hang_on_their_company_is_refused(
    one: Served, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_steady({"tiny": one}) == 4
    monkeypatch.setattr("archipel.serve.loading.LocalEngine", Swayed)
    swayed = promised(model)
    with pytest.raises(Unsteady, match=r"in company gives other log-probabilities.*--exact"):
        check_steady({"tiny": swayed})
    swayed.desk.close()


def test_the_command_says_equal_or_where_not_and_bad_files_in_one_sentence(
    file: bytes, model: Path, tmp_path: Path
) -> None:
    answer, _ = read_answer(file)
    good, bad, none = (tmp_path / name for name in ("good", "bad", "none"))
    good.write_bytes(file + b"\n")
    bad.write_bytes(sealed(lies(answer)["token"], SIGNER))
    none.write_bytes(b"{}")

    def verify(path: Path, *more: str) -> tuple[str, str]:
        words = ["answer", "verify", str(path), "--model", str(model), *more]
        got = CliRunner().invoke(command, words)
        return got.output, "" if got.exception is None else str(got.exception)

    said, error = verify(good, "--by", SIGNER.did)
    assert error == ""
    assert f"equal: {sum(len(each.tokens) for each in answer.choices)} tokens" in said
    facts = json.loads(verify(good, "--json")[0])
    assert (facts["equal"], facts["signer"]) == (True, SIGNER.did)
    said, error = verify(bad)
    assert "does not hold: choice 1, token 3: token" in error
    assert "no signed answer" in verify(none)[1]
    assert "expected did" in verify(good, "--by", identity("other").did)[1]
    assert "\n" not in error


def test_in_floating_point_another_fingerprint_is_named_and_shows_nothing(
    one: Served, model: Path
) -> None:
    data = Place({"tiny": one}).together([(CHAT, turn())])[0]
    answer, _ = read_answer(data)
    elsewhere = changed(answer, fingerprint="archipel-float32-1t-elsewhere")
    _, found = again(sealed(elsewhere, SIGNER), model)
    assert not found.is_promised
    assert "archipel-float32-1t" in found.fingerprint


def test_a_signed_answer_is_a_plain_dsse_envelope_of_canonical_json(file: bytes) -> None:
    fields = json.loads(file)
    assert fields["payloadType"] == "application/vnd.archipel.answer.v1+json"
    assert Envelope.from_json(file, 10**6).payload.startswith(b'{"at_ms":')
