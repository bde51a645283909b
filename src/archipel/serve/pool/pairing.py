"""How two devices come to know each other: a one-time code, carried from one screen to the other by a person.

    code     80 bits of the digest of the inviting device's certificate, 80 bits that nobody else knows; base32
    1. the joiner connects, showing no certificate, and goes on only if the other end proves to have the key of a
       certificate with that digest: nobody in between learns the secret
    2. joiner -> inviter   its certificate, the secret, a signature by the certificate's key over both ends and the secret
    3. inviter             looks at the secret, then at the certificate and the signature, and pairs
    4. inviter -> joiner   that it did; the joiner pairs too
Law: a code is good once, for a while and for a few tries of each address, so that no stranger can use it up; it is kept
in memory alone; a stranger's frames are small.
Not shown: that whoever carries the code shows it to nobody else.
"""

import base64
import hmac
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from archipel.connections import neighbourhood
from archipel.identity import BadSignature, Identity, verify_bytes
from archipel.plurals import counted
from archipel.records.fields import Closed
from archipel.serve.pool.credentials import Credentials, NotOurs, public_key_of
from archipel.serve.pool.links import SocketLink
from archipel.serve.pool.paired import BadPairing, Encoded, Label, PairedDevice, PairedDevices
from archipel.serve.pool.tls import STRANGERS, connect_unpaired

CODE_S = 600.0
"""How long a code is good for."""
TRIES = 5
"""Of wrong codes that an address may give (of IPv6: its first 64 bits); the right one from elsewhere is good all the same."""
MAX_ADDRESSES = 1024
"""Whose wrong codes are counted; of more, those of the one that was first to give one are forgotten."""
REPLY_S = 10.0
_HALF_BYTES = 10
_CODE = re.compile(r"[A-Z2-7]{32}")
_CONTEXT = b"archipel pool pairing 1\n"


class NotPaired(Exception):
    """Two devices did not come to know each other; the message says why and what to do."""


@dataclass(frozen=True)
class Code:
    """What a person carries over."""

    inviter: bytes
    """The first 10 bytes of the SHA-256 of the inviter's certificate."""
    secret: bytes
    """10 bytes."""

    def __str__(self) -> str:
        letters = base64.b32encode(self.inviter + self.secret).decode()
        return "-".join(letters[at : at + 4] for at in range(0, len(letters), 4))

    def __repr__(self) -> str:
        return "Code(...)"

    def is_by(self, certificate: bytes) -> bool:
        """Whether the device of this certificate (DER) made it."""
        return hmac.compare_digest(sha256(certificate).digest()[:_HALF_BYTES], self.inviter)


def read_code(text: str) -> Code:
    """A code as a person types it: in any case, with or without dashes and spaces.

    Raises:
        NotPaired: it is none.
    """
    letters = re.sub(r"[\s-]", "", text[:200]).upper()
    if not _CODE.fullmatch(letters):
        raise NotPaired(
            f"a pairing code has 32 letters A-Z and digits 2-7; got {len(letters)} characters. "
            "Copy it whole from the inviting device"
        )
    data = base64.b32decode(letters)
    return Code(data[:_HALF_BYTES], data[_HALF_BYTES:])


class Invitation:
    """One code of the inviting device, and whether it is still good."""

    def __init__(self, own: Credentials, now: float, good_s: float = CODE_S) -> None:
        self.code = Code(sha256(own.der).digest()[:_HALF_BYTES], secrets.token_bytes(_HALF_BYTES))
        self._until = now + good_s
        self._is_used = False
        self._tried: dict[str, int] = {}
        """Wrong codes by address."""
        self._lock = threading.Lock()

    def spend(self, secret: bytes, now: float, host: str = "") -> None:
        """Use the code up. `now`: of the clock that it was made by; `host`: the address that the secret came from.

        Raises:
            NotPaired: another secret, used up, too late, or too many others came from this address.
        """
        near = neighbourhood(host.partition("%")[0])
        with self._lock:
            if now >= self._until:
                raise NotPaired("this pairing code is no longer good; make a new one")
            if self._is_used:
                raise NotPaired("this pairing code is used up; make a new one")
            left = TRIES - self._tried.get(near, 0)
            if left <= 0:
                raise NotPaired(
                    f"{TRIES} wrong pairing codes came from this address, which has no try left; make a new one"
                )
            if not hmac.compare_digest(secret, self.code.secret):
                self._tried[near] = TRIES - left + 1
                if len(self._tried) > MAX_ADDRESSES:
                    del self._tried[next(iter(self._tried))]
                tries = counted(left - 1, "try", "tries")
                raise NotPaired(
                    f"another pairing code than the one that it showed last, each good once; {tries} left"
                )
            self._is_used = True


class PairWish(Closed):
    """What the joiner says."""

    do: Literal["pair"] = "pair"
    label: Label
    certificate: Encoded
    """DER."""
    secret: Annotated[str, Field(pattern=r"^[0-9a-f]{20}$")]
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]

    def der(self) -> bytes:
        """The certificate. Raises NotPaired."""
        try:
            return base64.b64decode(self.certificate, validate=True)
        except ValueError:
            raise NotPaired("the joining device's certificate is not base64") from None


class PairAnswer(Closed):
    """What the inviter says."""

    say: Literal["paired", "refused"]
    label: Annotated[str, Field(max_length=63)] = ""
    """What the inviter calls itself."""
    why: Annotated[str, Field(max_length=500)] = ""


@dataclass(frozen=True)
class Inviter:
    """The device that shows the code."""

    own: Credentials
    paired: PairedDevices
    label: str

    def meet(
        self, link: SocketLink, invitation: Invitation | None, now: float, now_s: int
    ) -> PairedDevice:
        """Pair with whoever is at the other end of a link without a certificate, if it has the code.

        `now`: by the invitation's clock; `now_s`: Unix time, for the list.

        Raises:
            NotPaired: it has not; it was told why, and the link is closed. LinkLost: it said nothing in time.
        """
        try:
            header, _ = link.receive(REPLY_S)
            try:
                wish = read_wish(header)
                if invitation is None:
                    raise NotPaired(
                        "nobody is invited now; make a pairing code on the other device first"
                    )
                invitation.spend(bytes.fromhex(wish.secret), now, link.host)
                device = self._paired(wish, now_s)
            except (NotPaired, BadPairing) as error:
                link.send(PairAnswer(say="refused", why=str(error)[:500]).model_dump())
                raise NotPaired(str(error)) from None
            link.send(PairAnswer(say="paired", label=self.label).model_dump())
        finally:
            link.close()
        return device

    def _paired(self, wish: PairWish, now_s: int) -> PairedDevice:
        secret, certificate = bytes.fromhex(wish.secret), wish.der()
        try:
            signed = _to_sign(self.own.der, certificate, secret)
            verify_bytes(public_key_of(certificate), signed, bytes.fromhex(wish.signature))
        except (NotOurs, BadSignature) as error:
            raise NotPaired(
                f"the joining device does not have its certificate's key: {error}"
            ) from None
        return self.paired.add(certificate, wish.label, now_s)


@dataclass(frozen=True)
class Joiner:
    """The device that the code is typed into."""

    own: Credentials
    paired: PairedDevices
    label: str

    def join(self, address: tuple[str, int], code: Code, now_s: int) -> PairedDevice:
        """Pair with the device at this address that made the code. `now_s`: Unix time, for the list.

        Raises:
            NotPaired: it refuses, or says what is no answer. LinkLost: another device answers, or none.
        """
        with connect_unpaired(address, code.is_by, bounds=STRANGERS) as link:
            other = link.certificate
            wish = PairWish(
                label=self.label,
                certificate=base64.b64encode(self.own.der).decode(),
                secret=code.secret.hex(),
                signature=Identity.load(self.own.key)
                .sign_bytes(_to_sign(other, self.own.der, code.secret))
                .hex(),
            )
            link.send(wish.model_dump())
            answer = read_answer(link.receive(REPLY_S)[0])
        if answer.say == "refused":
            raise NotPaired(f"the other device refuses: {answer.why}")
        return self.paired.add(other, answer.label, now_s)


def read_wish(header: Mapping[str, Any]) -> PairWish:
    """Raises NotPaired."""
    try:
        return PairWish.model_validate(header)
    except ValidationError as error:
        raise NotPaired(f"no wish to pair: {_first(error)}") from None


def read_answer(header: Mapping[str, Any]) -> PairAnswer:
    """Raises NotPaired."""
    try:
        return PairAnswer.model_validate(header)
    except ValidationError as error:
        raise NotPaired(f"the other device gave no answer to pairing: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"[:200]


def _to_sign(inviter: bytes, joiner: bytes, secret: bytes) -> bytes:
    """Fixed lengths, so that nothing can be read in two ways."""
    return _CONTEXT + sha256(inviter).digest() + sha256(joiner).digest() + secret
