"""Base58 as Bitcoin writes it: bytes in letters that cannot be mistaken for each other."""

_LETTERS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class BadBase58(ValueError):
    """A letter that is no digit."""


def base58_encode(data: bytes) -> str:
    """The digits of `data`, whose first byte is not zero."""
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _LETTERS[digit] + digits
    return digits


def base58_decode(text: str) -> bytes:
    """The bytes; raises BadBase58."""
    number = 0
    for character in text:
        digit = _LETTERS.find(character)
        if digit < 0:
            raise BadBase58(f"{character!r} is no base58 digit")
        number = number * 58 + digit
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
