"""A lab that holds its certificate itself: who may read the key, whom nodes believe, and what a renewal changes."""

import asyncio
import hashlib
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
import pytest
from cryptography.hazmat.primitives import serialization

from archipel.cli.lab_tls import certificate_of, shown_url
from archipel.lab.api import make_api
from archipel.lab.certificate import LOOKS, BadCertificate, Certificate, keep_up
from archipel.lab.server import LabServer
from archipel.node.client import LabReader
from archipel.node.exchange import LabUnreachable, authorities, believe
from authority import Authority
from world import World


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def own_beliefs() -> Iterator[None]:
    """What a test comes to believe, it alone does."""
    authorities.cache_clear()
    yield
    authorities.cache_clear()


@asynccontextmanager
async def serving(world: World, certificate: Certificate) -> AsyncIterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = LabServer(make_api(world.lab), world.lab, 9, certificate)
        running = asyncio.create_task(server._serve([listener]))
        while not server.started:  # noqa: ASYNC110  uvicorn offers no event for it
            await asyncio.sleep(0.005)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await running


def _shown(port: int) -> str:
    """The fingerprint of what is shown to who connects now."""
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=10.0)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def _of(chain: Path) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(chain.read_text())).hexdigest()


def test_a_reader_believes_the_lab_only_with_its_authority_and_a_renewed_certificate_is_shown(
    world: World, authority: Authority, own_beliefs: None, tmp_path: Path
) -> None:
    pair = authority.certify("lab", "127.0.0.1")
    newer = authority.certify("newer", "127.0.0.1")
    certificate = Certificate(pair.chain, pair.key)

    async def story() -> None:
        async with serving(world, certificate) as port:
            url = f"https://127.0.0.1:{port}"
            async with LabReader(url) as stranger:
                with pytest.raises(LabUnreachable, match="certificate does not hold"):
                    await stranger.meet()
            believe(authority.path)
            async with LabReader(url) as reader:
                await reader.meet()
                assert reader.lab == world.lab.identity.did
            async with LabReader(f"https://localhost:{port}") as elsewhere:
                with pytest.raises(LabUnreachable, match="certificate does not hold"):
                    await elsewhere.meet()  # of another name
            assert await asyncio.to_thread(_shown, port) == _of(pair.chain)
            kept = _of(pair.chain)
            shutil.copy(newer.chain, pair.chain)  # and its key is not there yet
            keep_up(certificate, LOOKS)
            assert await asyncio.to_thread(_shown, port) == kept
            shutil.copy(newer.key, pair.key)
            keep_up(certificate, LOOKS)
            assert await asyncio.to_thread(_shown, port) == _of(newer.chain)
            assert not certificate.renew()

    asyncio.run(story())


def test_what_is_no_certificate_and_its_key_is_refused_with_what_to_do(
    authority: Authority, tmp_path: Path
) -> None:
    pair, other = authority.certify("lab", "lab.example"), authority.certify("other", "x.example")
    with pytest.raises(BadCertificate, match=r"no certificate and its key \(.*mismatch"):
        Certificate(pair.chain, other.key)
    with pytest.raises(BadCertificate, match="expected PEM"):
        Certificate(pair.key, pair.key)
    pair.key.chmod(0o640)
    with pytest.raises(BadCertificate, match=f"chmod 600 {pair.key}"):
        Certificate(pair.chain, pair.key)
    key = serialization.load_pem_private_key(other.key.read_bytes(), None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"word"),
    )
    other.key.write_bytes(sealed)
    with pytest.raises(BadCertificate, match="sealed by a passphrase"):
        Certificate(other.chain, other.key)
    other.chain.write_bytes(b"x" * (1024 * 1024 + 1))
    with pytest.raises(BadCertificate, match="expected 1048576 at most"):
        Certificate(other.chain, other.key)
    with pytest.raises(OSError, match="holds no certificate"):
        believe(pair.key)


def test_a_lab_is_shown_by_the_name_that_its_certificate_is_for(authority: Authority) -> None:
    pair = authority.certify("lab", "*.lab.example", "lab.example", "127.0.0.1")
    certificate = certificate_of(pair.chain, pair.key)
    assert shown_url(certificate, "0.0.0.0", 8440) == "https://lab.example:8440"
    by_address = authority.certify("address", "::1")
    certificate = certificate_of(by_address.chain, by_address.key)
    assert shown_url(certificate, "::", 8440) == "https://[::1]:8440"
    assert shown_url(certificate_of(None, None), "::1", 8440) == "http://[::1]:8440"
    for half in ((pair.chain, None), (None, pair.key)):
        with pytest.raises(click.UsageError, match="belong together"):
            certificate_of(*half)
