"""What a door's own parts refuse with: the wire's one exception, in words of the door.

Law: whoever asks for what is another's hears the same words as whoever asks for what there is not.
"""

from archipel.door.wire.errors import Refused as Declined

__all__ = ["Declined", "not_there"]


def not_there(what: str, name: str) -> Declined:
    """The one answer for what is another's and for what is not. what: with its article."""
    return Declined("not_found", f"{what} {name[:80]!r} is not there, or not yours")
