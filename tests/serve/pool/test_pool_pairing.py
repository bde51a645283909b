"""Two devices get to know each other by one code, and nobody else gets to know either."""

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from archipel.identity import BadKeyFile, Identity
from archipel.serve.pool import listening
from archipel.serve.pool.credentials import Credentials, name_of, own_credentials
from archipel.serve.pool.links import Bounds, LinkLost, SocketLink
from archipel.serve.pool.listening import Listener
from archipel.serve.pool.paired import BadPairing, PairedDevices
from archipel.serve.pool.pairing import (
    CODE_S,
    TRIES,
    Code,
    Invitation,
    Inviter,
    Joiner,
    NotPaired,
    read_code,
)
from archipel.serve.pool.tls import STRANGERS, connect, connect_unpaired


@dataclass
class Gateway:
    """A device that listens; its clock stands unless it is set."""

    own: Credentials
    paired: PairedDevices
    now: float = 0.0
    invitation: Invitation | None = None
    refused: list[str] = field(default_factory=list)
    met: list[bytes] = field(default_factory=list)

    def invite(self) -> Code:
        self.invitation = Invitation(self.own, self.now)
        return self.invitation.code

    def meet(self, link: SocketLink) -> None:
        self.met.append(link.certificate)
        while True:
            link.send(*link.receive(10))

    def pair(self, link: SocketLink) -> None:
        try:
            Inviter(self.own, self.paired, "gateway").meet(link, self.invitation, self.now, 7)
        except NotPaired as error:
            self.refused.append(str(error))


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(own_credentials(tmp_path / "gateway"), PairedDevices(tmp_path / "gateway/list"))


@contextmanager
def open_port(gateway: Gateway) -> Iterator[tuple[str, int]]:
    port = Listener(
        ("127.0.0.1", 0), gateway.own, gateway.paired.certificates, gateway.meet, gateway.pair
    )
    try:
        yield port.address
    finally:
        port.close()


def joiner(folder: Path, name: str = "laptop") -> Joiner:
    return Joiner(own_credentials(folder / name), PairedDevices(folder / name / "list"), name)


def test_paired_devices_get_links_to_each_other_and_files_are_their_owners_alone(
    gateway: Gateway, tmp_path: Path
) -> None:
    laptop = joiner(tmp_path)
    with open_port(gateway) as address:
        typed = str(gateway.invite()).lower().replace("-", " ")
        other = laptop.join(address, read_code(typed), 5)
        assert (other.certificate, other.label) == (gateway.own.der, "gateway")
        with connect(address, laptop.paired.all()[0].certificate, laptop.own) as link:
            link.send({"hello": 1}, b"x")
            assert link.receive(5) == ({"hello": 1}, b"x")
    (known,) = gateway.paired.all()
    assert (known.name, known.label, known.paired_at_s) == (name_of(laptop.own.der), "laptop", 7)
    assert gateway.met == [laptop.own.der]
    for file in (tmp_path / "gateway").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def test_a_wrong_code_pairs_nobody_and_its_address_has_a_few_tries(
    gateway: Gateway, tmp_path: Path
) -> None:
    laptop = joiner(tmp_path)
    with open_port(gateway) as address:
        code = gateway.invite()
        wrong = Code(code.inviter, bytes(10))
        for left in reversed(range(TRIES)):
            with pytest.raises(NotPaired, match=f"another pairing code.*; {left} tr"):
                laptop.join(address, wrong, 5)
        with pytest.raises(NotPaired, match="no try left; make a new one"):
            laptop.join(address, code, 5)
        assert gateway.paired.all() == laptop.paired.all() == ()
        laptop.join(address, gateway.invite(), 5)
    assert [each.label for each in gateway.paired.all()] == ["laptop"]


def test_strangers_cannot_use_a_code_up(gateway: Gateway) -> None:
    code, wrong = gateway.invite(), bytes(10)
    invitation = gateway.invitation
    assert invitation is not None
    strangers = [f"192.0.2.{number}" for number in range(250)] + [
        f"2001:db8::{n}" for n in range(9)
    ]
    for host in strangers * 3:
        with pytest.raises(NotPaired):
            invitation.spend(wrong, 1.0, host)
    with pytest.raises(NotPaired, match="no try left"):  # one network of IPv6 is one stranger
        invitation.spend(code.secret, 1.0, "2001:db8::ffff")
    invitation.spend(code.secret, 1.0, "192.0.3.1")


def test_what_is_counted_of_strangers_is_bounded(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.serve.pool.pairing.MAX_ADDRESSES", 3)
    code = gateway.invite()
    invitation = gateway.invitation
    assert invitation is not None
    for number in range(9):
        with pytest.raises(NotPaired, match="4 tries left"):
            invitation.spend(bytes(10), 1.0, f"192.0.2.{number}")
    assert len(invitation._tried) == 3
    invitation.spend(code.secret, 1.0, "192.0.2.8")


def test_a_link_knows_the_address_at_its_other_end(gateway: Gateway, tmp_path: Path) -> None:
    met: list[str] = []
    own = gateway.pair

    def pair(link: SocketLink) -> None:
        met.append(link.host)
        own(link)

    gateway.pair = pair  # type: ignore[method-assign]
    with open_port(gateway) as address:
        joiner(tmp_path).join(address, gateway.invite(), 5)
    assert met == ["127.0.0.1"]


def test_a_code_is_good_once(gateway: Gateway, tmp_path: Path) -> None:
    laptop, second = joiner(tmp_path), joiner(tmp_path, "second")
    with open_port(gateway) as address:
        code = gateway.invite()
        laptop.join(address, code, 5)
        with pytest.raises(NotPaired, match="used up"):
            second.join(address, code, 5)
    assert [each.label for each in gateway.paired.all()] == ["laptop"]


def test_one_code_typed_into_many_devices_at_once_pairs_one(gateway: Gateway) -> None:
    code, now = gateway.invite(), 1.0
    invitation, paired = gateway.invitation, []
    assert invitation is not None

    def spend() -> None:
        try:
            invitation.spend(code.secret, now)
            paired.append(1)
        except NotPaired:
            pass

    threads = [threading.Thread(target=spend) for _ in range(16)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert paired == [1]


def test_a_code_ends(gateway: Gateway, tmp_path: Path) -> None:
    with open_port(gateway) as address:
        code = gateway.invite()
        gateway.now += CODE_S
        with pytest.raises(NotPaired, match="no longer good"):
            joiner(tmp_path).join(address, code, 5)
        gateway.invitation = None
        with pytest.raises(NotPaired, match="nobody is invited"):
            joiner(tmp_path).join(address, code, 5)


def test_whoever_stands_between_learns_no_secret(gateway: Gateway, tmp_path: Path) -> None:
    """It has a certificate of its own, and so another digest than the code's."""
    between = Gateway(own_credentials(tmp_path / "between"), PairedDevices(tmp_path / "b/list"))
    heard: list[bytes] = []
    between.pair = lambda link: heard.append(link.receive(5)[1])  # type: ignore[method-assign]
    laptop = joiner(tmp_path)
    with open_port(between) as address, pytest.raises(LinkLost, match="another device answers"):
        laptop.join(address, gateway.invite(), 5)
    assert heard == []
    assert laptop.paired.all() == ()


@pytest.mark.parametrize("what", ["signature", "certificate", "both"])
def test_a_certificate_is_paired_only_with_its_key(
    gateway: Gateway, tmp_path: Path, what: str
) -> None:
    thief, victim = joiner(tmp_path, "thief"), joiner(tmp_path, "victim")
    other = {
        "signature": Credentials(thief.own.key, victim.own.certificate, victim.own.der),
        "certificate": Credentials(thief.own.key, thief.own.certificate, b"no certificate"),
        "both": Credentials(thief.own.key, thief.own.certificate, victim.own.der[:-1] + b"\0"),
    }[what]
    with open_port(gateway) as address, pytest.raises(NotPaired, match="refuses: the joining"):
        Joiner(other, thief.paired, "thief").join(address, gateway.invite(), 5)
    assert gateway.paired.all() == ()


@pytest.mark.parametrize("key", ["same", "other"])
def test_what_a_paired_device_certifies_is_not_that_device(
    gateway: Gateway, tmp_path: Path, key: str
) -> None:
    """Its certificate is an authority of the handshake, and still only it gets a link."""
    laptop, helper = joiner(tmp_path), joiner(tmp_path, "helper")
    issuer = x509.load_der_x509_certificate(laptop.own.der)
    signer = load_pem_private_key(laptop.own.key.read_bytes(), None)
    holder = laptop.own if key == "same" else helper.own
    assert isinstance(signer, Ed25519PrivateKey)
    made = (
        x509.CertificateBuilder()
        .subject_name(issuer.subject)
        .issuer_name(issuer.subject)
        .public_key(x509.load_der_x509_certificate(holder.der).public_key())
        .serial_number(7)
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_after_utc)
        .sign(signer, None)
    )
    file = tmp_path / "made.crt"
    file.write_bytes(made.public_bytes(Encoding.PEM) + laptop.own.certificate.read_bytes())
    with open_port(gateway) as address:
        laptop.join(address, gateway.invite(), 5)
        forged = Credentials(holder.key, file, made.public_bytes(Encoding.DER))
        with pytest.raises(LinkLost):
            connect(address, gateway.own.der, forged)
    assert gateway.met == []


def test_strangers_are_told_nothing_and_may_not_speak_at_length(
    gateway: Gateway, tmp_path: Path
) -> None:
    stranger = joiner(tmp_path, "stranger")
    is_it: Callable[[bytes], bool] = lambda shown: shown == gateway.own.der  # noqa: E731
    with open_port(gateway) as address:
        with pytest.raises(LinkLost, match="does not know this device"):
            connect(address, gateway.own.der, stranger.own)
        for header, payload in (
            ({"do": "pair"}, b"x"),
            ({"do": "x" * STRANGERS.header_bytes}, b""),
        ):
            with connect_unpaired(address, is_it) as link:
                link._bounds = Bounds()
                link.send(header, payload)
                with pytest.raises(LinkLost):
                    link.receive(5)
        with connect_unpaired(address, is_it) as link:
            link.send({"do": "layers"})
            assert link.receive(5)[0]["say"] == "refused"
    assert gateway.met == []


def test_strangers_who_drip_or_say_nothing_hold_up_nobody(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "MAX_STRANGERS", 4)
    laptop = joiner(tmp_path)
    silent: list[socket.socket] = []
    try:
        with open_port(gateway) as address:
            for _ in range(12):
                silent.append(socket.create_connection(address, timeout=5))
                silent[-1].sendall(b"\x16\x03")
            laptop.join(address, gateway.invite(), 5)
            silent[0].settimeout(5)
            assert silent[0].recv(1) == b"", "the oldest has gone"
            began = time.monotonic()
        assert time.monotonic() - began < 6, "closing waits for nobody"
    finally:
        for each in silent:
            each.close()


def test_what_is_revoked_loses_its_links_at_once_and_gets_no_more(
    gateway: Gateway, tmp_path: Path
) -> None:
    laptop = joiner(tmp_path)
    with open_port(gateway) as address:
        laptop.join(address, gateway.invite(), 5)
        with connect(address, gateway.own.der, laptop.own) as link:
            link.send({})
            link.receive(5)
            elsewhere = PairedDevices(tmp_path / "gateway/list")
            assert elsewhere.revoke("laptop").certificate == laptop.own.der
            with pytest.raises(LinkLost, match=r"closed the link|broke|encryption"):
                link.receive(6)
        with pytest.raises(LinkLost, match="does not know this device"):
            connect(address, gateway.own.der, laptop.own)


def test_the_list_takes_no_damage_and_names_devices_by_label_or_digest(tmp_path: Path) -> None:
    paired = PairedDevices(tmp_path / "list")
    one, two = (own_credentials(tmp_path / name) for name in ("one", "two"))
    paired.add(one.der, "desk", 1)
    paired.add(two.der, "lap top", 2)
    paired.add(two.der, "lap", 3)
    assert [(e.label, e.paired_at_s) for e in paired.all()] == [("desk", 1), ("lap", 3)]
    for which in ("nobody", "", one.name[7:14]):
        with pytest.raises(BadPairing, match=r"names 0 devices; paired are: desk, lap"):
            paired.revoke(which)
    assert paired.revoke(one.name[7:19]).label == "desk"
    for label in ("", "a" * 64, "-x", "new\nline"):
        with pytest.raises(BadPairing, match="a label has"):
            paired.add(one.der, label, 1)
    with pytest.raises(BadPairing, match="certificate"):
        paired.add(b"x", "x", 1)
    data = (tmp_path / "list").read_bytes()
    at = data.index(base64.b64encode(two.der)[:20])
    (tmp_path / "list").write_bytes(data[:at] + b"A" + data[at + 1 :])
    with pytest.raises(BadPairing, match="damaged"):
        paired.all()


def test_a_devices_key_stays_and_its_certificate_comes_again(tmp_path: Path) -> None:
    own = own_credentials(tmp_path)
    assert own_credentials(tmp_path) == own
    own.certificate.unlink()
    assert own_credentials(tmp_path) == own
    own.certificate.write_bytes(b"damaged")
    assert own_credentials(tmp_path) == own
    own.key.chmod(0o644)
    with pytest.raises(BadKeyFile, match="0600"):
        own_credentials(tmp_path)
    own.key.chmod(0o600)
    other = own_credentials(tmp_path / "other")
    own.certificate.write_bytes(other.certificate.read_bytes())
    assert own_credentials(tmp_path) == own, "a certificate of another key is none of ours"
    assert Identity.load(own.key).did


@pytest.mark.parametrize("text", ["", "ABCD", "A" * 31, "A" * 33, "A" * 31 + "1", "A" * 10_000])
def test_what_is_no_code_is_said_before_anybody_is_called(text: str) -> None:
    with pytest.raises(NotPaired, match="32 letters"):
        read_code(text)


def test_a_code_shows_itself_only_when_it_is_asked_for(gateway: Gateway) -> None:
    code = gateway.invite()
    assert read_code(str(code)) == code
    assert code.secret.hex() not in repr(code)
    assert str(code) not in repr(code)
