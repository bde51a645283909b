"""Where a run's chance comes from: pure functions of the run's seed and a group's number.

Law: nothing here depends on who does the work. A group that is leased a second time is sampled with
the same noise, so giving a lease back buys no second draw, and one node or a hundred give the same
rollouts. Derivation is SHA-256 over a domain-separated canonical string.
"""

import hashlib

SEED_BITS = 63
"""Seeds fit a signed 64-bit integer everywhere they travel."""


def derive_seed(domain: str, *parts: int) -> int:
    """A seed in [0, 2**63) for (domain, parts)."""
    text = ":".join(["archipel.seed.v1", domain, *(str(part) for part in parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> (64 - SEED_BITS)


NOISE_BITS = 53
"""A seed that stands in a record is a number that canonical JSON holds."""
_NOISE = b"archipel.run-noise.v1\x00"


def drawn_noise(root: str, opening: str) -> int:
    """The seed of all of a run's sampling where nobody chose it, in [0, 2**53).

    The first bits of SHA-256 over domain, root and opening: the Merkle tree hash of a ledger that holds the opening and
    a later signature of the lab's, and the digest of the opening's record; both as `sha256:...`.
    """
    raw = b"".join(bytes.fromhex(each.removeprefix("sha256:")) for each in (root, opening))
    drawn = hashlib.sha256(_NOISE + raw).digest()[:8]
    return int.from_bytes(drawn, "big") >> (64 - NOISE_BITS)


def group_seed(run_seed: int, group_index: int) -> int:
    """The sampling noise of every rollout in a group follows from this number."""
    return derive_seed("group", run_seed, group_index)


def evaluation_seed(run_seed: int, version: int, task_index: int) -> int:
    """Noise for the sampled completions of one held-out task."""
    return derive_seed("evaluation", run_seed, version, task_index)
