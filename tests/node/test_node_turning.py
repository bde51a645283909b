"""A lab that answers at several addresses: who is asked, and what is sent once more."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from archipel.node.address import MAX_ADDRESSES, BadAddress, lab_addresses
from archipel.node.client import LabReader
from archipel.node.exchange import LabRefused, LabUnreachable, NotHeard
from archipel.node.turning import Addresses

NOT_LEADING = {"type": "x/not-leading", "detail": "this lab follows"}
STOPPED = {"type": "x/ledger-stopped", "detail": "it ends"}


def test_addresses_of_one_lab_are_told_apart_by_commas_and_spelled_alike() -> None:
    assert lab_addresses("HTTP://A:8440/, http://b:8440") == ("http://a:8440", "http://b:8440")
    assert lab_addresses("http://a,http://a/") == ("http://a",)
    assert lab_addresses("http://a/x,y") == ("http://a/x,y",)
    for wrong in ("", "http://a,http://", "http://a,", "a,http://b"):
        with pytest.raises(BadAddress):
            lab_addresses(wrong)
    with pytest.raises(BadAddress, match=f"at most {MAX_ADDRESSES}"):
        lab_addresses(",".join(f"http://h{n}" for n in range(MAX_ADDRESSES + 1)))


def test_an_address_is_left_by_whoever_saw_it_fail_first() -> None:
    several = Addresses("http://a,http://b")
    assert several.leave("http://a")
    assert several.now == "http://b"
    several.leave("http://a")  # a second request that failed there
    assert several.now == "http://b"
    several.leave("http://b")
    assert several.now == "http://a"
    assert not Addresses("http://a").leave("http://a")
    assert str(several) == "http://a,http://b"


async def streamed(data: bytes) -> AsyncIterator[bytes]:
    """A body as it comes over a wire."""
    yield data


@contextlib.asynccontextmanager
async def labs(*answers: tuple[int, object] | None) -> AsyncIterator[tuple[LabReader, list[str]]]:
    """A reader of several addresses, each of which answers so; None: nobody listens there."""
    asked: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        number = int(request.url.host[1:])
        asked.append(request.url.host)
        said = answers[number]
        if said is None:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(said[0], content=streamed(json.dumps(said[1]).encode()))

    urls = ",".join(f"http://h{number}" for number in range(len(answers)))
    async with LabReader(urls) as lab:
        await lab.http.aclose()
        lab.http = httpx.AsyncClient(base_url=lab.url, transport=httpx.MockTransport(answer))
        yield lab, asked


def test_what_nobody_took_in_is_sent_to_the_next_address_at_once() -> None:
    async def story() -> None:
        async with labs(None, (503, NOT_LEADING), (200, {"here": True})) as (lab, asked):
            assert await lab.get("/x") == {"here": True}
            assert await lab.get("/x") == {"here": True}
            assert asked == ["h0", "h1", "h2", "h2"]
            assert lab.url == "http://h2"

    asyncio.run(story())


def test_every_address_is_asked_once_and_then_it_is_said() -> None:
    async def story() -> None:
        async with labs(None, (503, NOT_LEADING)) as (lab, asked):
            with pytest.raises(NotHeard, match="h1: this lab follows"):
                await lab.get("/x")
            assert asked == ["h0", "h1"]
            assert lab.url == "http://h0"  # where the next try begins

    asyncio.run(story())


def test_what_may_have_been_heard_is_for_the_caller_to_say_again_and_is_said_elsewhere() -> None:
    async def story() -> None:
        async with labs((503, STOPPED), (200, {})) as (lab, asked):
            with pytest.raises(LabUnreachable, match="it ends"):
                await lab.get("/x")
            assert asked == ["h0"]
            await lab.get("/x")
            assert asked == ["h0", "h1"]

    asyncio.run(story())


def test_a_considered_no_is_asked_for_nowhere_else() -> None:
    async def story() -> None:
        async with labs((403, {"type": "x/not-allowed", "detail": "no"}), (200, {})) as (
            lab,
            asked,
        ):
            with pytest.raises(LabRefused):
                await lab.get("/x")
            assert asked == ["h0"]
            assert lab.url == "http://h0"

    asyncio.run(story())


def test_a_stream_that_nobody_took_in_is_not_sent_from_its_middle() -> None:
    async def story() -> None:
        async with labs((503, NOT_LEADING), (200, {})) as (lab, asked):
            with pytest.raises(NotHeard):
                await lab._exchange("PUT", "/x", content=streamed(b"x"))
            assert asked == ["h0"]
            assert lab.url == "http://h1"

    asyncio.run(story())


def test_a_port_where_nobody_listens_is_nobody_who_heard() -> None:
    async def story() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            async with LabReader(f"http://127.0.0.1:{unused.getsockname()[1]}") as lab:
                with pytest.raises(NotHeard, match="refused"):
                    await lab.get("/x")

    asyncio.run(story())
