"""A sum of micro-credits divided in proportion, to the last one, the same way everywhere."""

from collections.abc import Mapping


def in_proportion(micro: int, given: Mapping[str, int]) -> dict[str, int]:
    """`micro` divided among the names of `given` by what each has given: by the method of largest remainders.

    Every share is rounded down, and what that leaves goes, one each, to the largest remainders; of equal ones to the
    name that comes first. The shares add up to `micro`; nobody's differs by 1 or more from its exact share.

    Raises:
        ValueError: less than nothing to divide or given, or nothing given by anybody.
    """
    total = sum(given.values())
    if micro < 0 or total <= 0 or min(given.values()) < 0:
        raise ValueError(
            f"{micro} micro-credits in proportion to a sum of {total}; expected 0 or more, and more than 0"
        )
    shares = {name: micro * each // total for name, each in given.items()}
    by_remainder = sorted(given, key=lambda name: (-(micro * given[name] % total), name))
    for name in by_remainder[: micro - sum(shares.values())]:
        shares[name] += 1
    return shares
