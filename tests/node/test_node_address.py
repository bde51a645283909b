"""Addresses of labs as people type them, and what stands there when it is no lab."""

import asyncio
import random
import socket

import pytest

from archipel.node.address import BadAddress, in_brackets, lab_address
from archipel.node.client import LabReader
from archipel.node.exchange import LabRefused, LabUnreachable


@pytest.mark.parametrize(
    ("typed", "spelled"),
    [
        ("http://127.0.0.1:8440/", "http://127.0.0.1:8440"),
        (" HTTP://Lab.Example:80 ", "http://lab.example"),
        ("https://lab:443/behind/", "https://lab/behind"),
        ("http://[::1]:18461", "http://[::1]:18461"),
        ("http://[::ffff:1.2.3.4]:5", "http://[::ffff:1.2.3.4]:5"),
        ("http://läb.example:8", "http://läb.example:8"),
    ],
)
def test_an_address_has_one_spelling(typed: str, spelled: str) -> None:
    assert lab_address(typed) == spelled
    assert lab_address(spelled) == spelled


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("127.0.0.1:8440", "did you mean http://127.0.0.1:8440 ?"),
        ("lab.example", "did you mean http://lab.example ?"),
        ("http:/lab:1", "did you mean http://lab:1 ?"),
        ("http://::1:18461", "did you mean http://[::1]:18461 ?"),
        ("::1:8440", "did you mean http://[::1]:8440 ?"),
        ("::1", "did you mean http://[::1] ?"),
        ("ftp://lab:1", "not reached by ftp://"),
        ("http://[::1", "is no address"),
        ("http://lab:99999", "is no address"),
        ("http://lab:0", "port 0"),
        ("http://lab:abc", "is no address"),
        ("http://", "names no host"),
        ("http://..", "is no address"),
        ("http://" + "a" * 64, "is no address"),
        ("http://a b", "is no address"),
        ("http://lab\x1b[31m", "is no address"),
        ("http://\udcff", "is no address"),
        ("http://me:secret@lab", "no name or password"),
        ("http://lab/?x=1", "has a ?"),
        ("", "is empty"),
    ],
)
def test_an_address_that_no_lab_can_have_is_one_sentence(typed: str, said: str) -> None:
    with pytest.raises(BadAddress) as caught:
        lab_address(typed)
    text = str(caught.value)
    assert said in text
    assert "secret" not in text
    assert text.isprintable()
    with pytest.raises(BadAddress):
        LabReader(typed)


def test_whatever_is_typed_is_an_address_or_a_sentence() -> None:
    draw = random.Random(8)
    signs = "http://[]:%@.-_~!$&'()*+,;=?#/\\ \0aé９ß٣0189xn--"
    for _ in range(5000):
        start = draw.choice(["", "http://", "https://", "http://["])
        typed = start + "".join(draw.choice(signs) for _ in range(draw.randrange(12)))
        try:
            spelled = lab_address(typed)
        except BadAddress:
            continue
        assert lab_address(spelled) == spelled, typed


def test_hosts_of_ipv6_stand_in_brackets() -> None:
    assert in_brackets("::1") == "[::1]"
    assert in_brackets("127.0.0.1") == "127.0.0.1"


async def _meet(answer: bytes | None, scheme: str = "http") -> Exception:
    """What meeting a lab ends with where a server answers every request with these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(answer or b"")
        writer.close()

    held = socket.socket()
    held.bind(("127.0.0.1", 0))  # its port answers nobody, and nobody else is given it meanwhile
    if answer is None:
        port, server = held.getsockname()[1], None
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
    try:
        async with LabReader(f"{scheme}://127.0.0.1:{port}") as lab:
            await lab.meet()
    except (LabUnreachable, LabRefused) as error:
        return error
    finally:
        held.close()
        if server is not None:
            server.close()
    raise AssertionError("that was no lab")


MOVED = b"HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nContent-Length: 0\r\n\r\n"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>"
ABSENT = b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found"
ELSEWHERE = b'{"type": "https://archipel.example/problems/http-error", "detail": "Not Found"}'
ELSEWHERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(ELSEWHERE), ELSEWHERE)


@pytest.mark.parametrize(
    ("answer", "scheme", "said"),
    [
        (ELSEWHERE, "http", "; is this the lab's address?"),
        (None, "http", "connection refused"),
        (MOVED, "http", "sends us to"),
        (ABSENT, "http", "is no lab (status 404)"),
        (PAGE, "http", "/lab"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "http", "does not speak HTTP"),
        (b"", "http", "broke off the connection"),
        (PAGE, "https", "no TLS there"),
    ],
)
def test_what_is_no_lab_is_named(answer: bytes | None, scheme: str, said: str) -> None:
    error = asyncio.run(_meet(answer, scheme))
    assert said in str(error)
