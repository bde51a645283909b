"""One place for how many of something: 1 node, 2 nodes, 3 entries."""


def counted(number: int, one: str, many: str = "") -> str:
    """The number and its noun. many: where it is not the singular with an s."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
