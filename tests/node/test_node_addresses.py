"""A lab cannot make a node ask around in networks that are more private than its own."""

import pytest

from archipel.node.addresses import BadPlace, NotDialled, check_successor, peer_url, place_of

PUBLIC, PRIVATE, LOOPBACK = "93.184.215.14", "10.0.0.7", "127.0.0.1"


@pytest.mark.parametrize(
    ("spelled", "labs"),
    [
        ("93.184.215.15:8441", PUBLIC),
        ("[2606:2800:21f:cb07::1]:8441", PUBLIC),
        ("93.184.215.15:8441", PRIVATE),
        ("192.168.1.5:8441", PRIVATE),
        ("127.0.0.1:65535", LOOPBACK),
        ("[::1]:1024", LOOPBACK),
        ("10.1.2.3:8441", LOOPBACK),
    ],
)
def test_peers_as_far_off_as_the_lab_or_farther_are_dialled(spelled: str, labs: str) -> None:
    assert peer_url(spelled, labs) == f"http://{spelled}"


@pytest.mark.parametrize(
    "spelled",
    [
        "127.0.0.1:8441", "10.0.0.1:8441", "192.168.0.1:8441", "172.16.0.1:8441", "[::1]:8441",
        "[fc00::1]:8441", "[::ffff:10.0.0.1]:8441", "[::ffff:127.0.0.1]:8441", "100.64.0.1:8441",
        "169.254.169.254:8080", "[fe80::1]:8441", "0.0.0.0:8441", "224.0.0.1:8441", "255.255.255.255:8441",
        "[2002:7f00:1::]:8441", "93.184.215.14:80", "93.184.215.14:1023", "93.184.215.14:65536", "93.184.215.14",
        "example.org:8441", "93.184.215.14:8441/x", "user@93.184.215.14:8441", "93.184.215.14:8441#",
        "0x5d.0.0.1:8441", "1572395042:8441", "093.184.215.14:8441", "", "[::1%lo]:8441", "93.184.215.14:08441",
    ],
)  # fmt: skip
def test_names_services_and_private_addresses_are_not_dialled_for_a_public_lab(
    spelled: str,
) -> None:
    with pytest.raises(NotDialled):
        peer_url(spelled, PUBLIC)


def test_loopback_is_not_dialled_for_a_lab_in_a_private_network() -> None:
    with pytest.raises(NotDialled, match="more private"):
        peer_url("127.0.0.1:8441", PRIVATE)


@pytest.mark.parametrize(
    "seen", ["169.254.169.254", "fe80::1", "0.0.0.0", "::", "::ffff:169.254.169.254"]
)
def test_no_lab_continues_another_at_nobodys_own_address(seen: str) -> None:
    for is_lab_here in (True, False):
        with pytest.raises(NotDialled, match="nobody's own"):
            check_successor([PUBLIC, seen], is_lab_here=is_lab_here)


def test_a_lab_elsewhere_names_no_successor_on_this_machine() -> None:
    check_successor([PUBLIC, PRIVATE], is_lab_here=False)
    check_successor([PUBLIC, LOOPBACK], is_lab_here=True)
    for seen in (LOOPBACK, "::1", "::ffff:127.0.0.1", "127.8.8.8"):
        with pytest.raises(NotDialled, match="this machine"):
            check_successor([PUBLIC, seen], is_lab_here=False)


def test_where_to_listen_is_numbers_and_a_free_port() -> None:
    assert place_of("127.0.0.1:0") == ("127.0.0.1", 0)
    assert place_of("[::1]:8441") == ("::1", 8441)
    for text in (
        "8441",
        "lab.example:8441",
        "127.0.0.1:80",
        "127.0.0.1:x",
        "http://127.0.0.1:8441",
        "",
    ):
        with pytest.raises(BadPlace, match="expected HOST:PORT"):
            place_of(text)
