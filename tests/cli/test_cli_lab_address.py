"""`archipel lab start`: the address that it listens on, and says."""

import socket
from pathlib import Path

import pytest

from archipel.bench.site import Site
from archipel.cli.archipel import run
from archipel.cli.doors import Mendable
from archipel.cli.listening import listen
from archipel.node.address import lab_address
from terminal import environment


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
def test_a_lab_on_ipv6_says_an_address_that_its_readers_can_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Site(tmp_path, environment()) as site:
        url = site.start_lab(options=["--host", "::1"])
        assert url.startswith("http://[::1]:")
        assert lab_address(url) == url
        with pytest.raises(SystemExit) as ended:
            run(["run", "list", "--lab", url])
        assert ended.value.code == 0
        assert capsys.readouterr().out == "no runs\n"


@pytest.mark.parametrize("host", ["no such host", "..", "192.0.2.1"])
def test_an_address_that_cannot_be_listened_on_is_one_sentence(host: str) -> None:
    with pytest.raises(Mendable, match="cannot listen on"):
        listen(host, 0)
