"""Tables and identity of the exact contract (docs/reference/exact.md, clauses 9 and 10), for the oracle.

Law: made from Python integers alone; only the last step of each entry is a float.
"""

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy import float32 as f32
from numpy import float64 as f64
from numpy import int64
from numpy.typing import NDArray

Integers = NDArray[np.int64]

ONE = 2**128


@dataclass(frozen=True)
class Tables:
    E: Integers
    S: NDArray[np.float32]
    """Entry i of the text is entry i + 32768 here."""
    A: NDArray[np.float64]
    B: NDArray[np.float64]
    arcs: tuple[tuple[Integers, Integers], ...]
    LN2: float
    L: NDArray[np.float64]


def exp_down(n: int) -> int:
    """9.1: exp(-1 / n)."""
    term = total = ONE
    k = 0
    while term:
        k += 1
        term //= n * k
        total += -term if k % 2 else term
    return total


def powers(n: int, count: int) -> list[int]:
    """9.1: exp(-i / n), i = 0 .. count - 1."""
    factor, result = exp_down(n), [ONE]
    while len(result) < count:
        result.append(result[-1] * factor // ONE)
    return result


def arctan(n: int) -> int:
    """9.4: the arc whose tangent is 1 / n."""
    power = total = ONE // n
    k = 1
    while power:
        k += 2
        power //= n * n
        total += -(power // k) if k % 4 == 3 else power // k
    return total


PI = 16 * arctan(5) - 4 * arctan(239)


def circle(bits: int) -> tuple[int, int]:
    """9.4: cosine and sine of one 2^bits-th of a turn."""
    x = 2 * PI // 2**bits
    parts, term, k = [ONE, 0], ONE, 0
    while term:
        k += 1
        term = term * x // (ONE * k)
        parts[k % 2] += term if k % 4 in (0, 1) else -term
    return parts[0], parts[1]


def arc(bits: int, count: int) -> tuple[Integers, Integers]:
    """9.4: cosines and sines of `count` steps of `circle(bits)`, in units of 2^-30."""
    c, s = circle(bits)
    points = [(ONE, 0)]
    while len(points) < count:
        C, S = points[-1]
        points.append(((C * c - S * s) // ONE, (S * c + C * s) // ONE))
    entries = np.array([[(x + 2**97) // 2**98 for x in both] for both in points], int64)
    return entries[:, 0], entries[:, 1]


def atanh(a: int, b: int) -> int:
    """9.5: of a / b."""
    power = total = ONE * a // b
    k = 1
    while power:
        k += 2
        power = power * a * a // (b * b)
        total += power // k
    return total


@cache
def tables() -> Tables:
    """9.1 to 9.5. A quotient of Python integers is the nearest f64."""
    p = powers(4096, 65537)
    E = [(x + 2**103) // 2**104 for x in p[:-1]] + [0]
    S = [p[-2 * i] / (ONE + p[-2 * i]) for i in range(-32768, 0)]
    S += [ONE / (ONE + p[2 * i]) for i in range(32769)]
    return Tables(
        E=np.array(E, int64),
        S=np.array(S, f64).astype(f32),
        A=np.array([x / ONE for x in powers(1024, 32768)], f64),
        B=np.array([x / ONE for x in powers(2**20, 1024)], f64),
        arcs=(arc(11, 2048), arc(22, 2048), arc(32, 1024)),
        LN2=2 * atanh(1, 3) / ONE,
        L=np.array([2 * atanh(2 * j + 1, 4097 + 2 * j) / ONE for j in range(1024)], f64),
    )


def digests() -> dict[str, str]:
    """10.1: SHA-256 of each table in hexadecimal."""
    t = tables()
    entries = {
        "E": t.E.astype("<i4"),
        "S": t.S.astype("<f4"),
        "A": t.A.astype("<f8"),
        "B": t.B.astype("<f8"),
        "L": t.L.astype("<f8"),
        "arcs": np.concatenate([half for each in t.arcs for half in each]).astype("<i4"),
    }
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in entries.items()}


def identity(variant: str) -> str:
    """10.2."""
    lines = ["archipel exact contract 1", f"variant {variant}"]
    lines += [f"{name} {digest}" for name, digest in digests().items()]
    text = "".join(f"{line}\n" for line in lines)
    return f"exact-1-{variant}-{hashlib.sha256(text.encode('ascii')).hexdigest()[:16]}"
