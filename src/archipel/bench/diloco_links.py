"""Unequal links: which codec each member sends with, and how long exchanges take. Pure; seconds are simulated.

The rule: an exchange may take a member's link as long as `every` inner steps take its machine, each way. Everybody sends
with the richest codec of the ladder that goes up the own link in that time and, as one of all others' payloads, comes
down the slowest link in that time. So nobody's text is left out for a slow link, and one slow link at most doubles the
time; without the rule, everybody waits for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archipel.bench.diloco_plan import EF_DECAY, Links, Way
from archipel.training.exchange import CodecTerms, codec_of

LADDER = (
    CodecTerms("float32"),
    CodecTerms("int8"),
    CodecTerms("e3m0"),
    *(CodecTerms("top_k", kept, EF_DECAY) for kept in (512, 256, 128, 64, 32, 16)),
)
"""From the most bytes to the fewest."""
UNEQUAL = 100
"""The last member's link is so many times slower."""
FAST = 1 / 3
"""Weights as float32 that a fast link carries in the time of an inner step, each way: an exchange of them takes as long
as three steps."""
GENTLE_DOWN = 10
"""A slow link that is slow upwards, like most at home, is only so many times slower downwards."""


@dataclass(frozen=True)
class Link:
    """How much a member's link carries, in whole float32 weights per inner step."""

    up: float
    down: float


def links_of(kind: Links, members: int) -> tuple[Link, ...]:
    """A link for each member; where they are unequal the last one's is slow."""
    fast = Link(FAST, FAST)
    slow = {
        "equal": fast,
        "slow": Link(FAST / UNEQUAL, FAST / UNEQUAL),
        "slow up": Link(FAST / UNEQUAL, FAST / GENTLE_DOWN),
    }[kind]
    return (*(fast,) * (members - 1), slow)


def codecs_for(
    way: Way, members: int, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[CodecTerms, ...]:
    """A codec for each member: the way's own where links are equal, else by the rule."""
    if way.links == "equal":
        return (way.codec,) * members
    links = links_of(way.links, members)
    whole = codec_of(LADDER[0]).size(shapes)
    slowest = min(link.down for link in links)

    def fits(codec: CodecTerms, link: Link) -> bool:
        copies = codec_of(codec).size(shapes) / whole
        return copies <= way.every * link.up and copies * (members - 1) <= way.every * slowest

    return tuple(next((c for c in LADDER if fits(c, link)), LADDER[-1]) for link in links)


def inner_steps_waited(up: Sequence[int], down: Sequence[int], whole: int, kind: Links) -> float:
    """How long all exchanges of a run take, as inner steps of one machine, where nobody trains meanwhile.

    up, down: bytes of each member in all exchanges; whole: bytes of the weights as float32. Everybody waits for the
    slowest to send, then for the slowest to fetch.
    """
    links = links_of(kind, len(up))
    sending = max(sent / whole / link.up for sent, link in zip(up, links, strict=True))
    fetching = max(taken / whole / link.down for taken, link in zip(down, links, strict=True))
    return sending + fetching
