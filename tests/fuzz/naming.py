"""Hooks for schemathesis at any door: half of the sound requests name what is there, and bytes come near to sound ones.

What a request becomes is drawn by what it was, so the same seed of the tool gives the same requests; those that
the tool made unsound stay as they are. The file THERE says what is there: `names` of fields and parameters, and
sound `bodies` by media type, in base64.
"""

import base64
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies

from fuzz.driving import THERE
from fuzz.spoiling import spoilt

_there: dict[str, Any] = json.loads(Path(THERE).read_bytes())
NAMES: Mapping[str, Sequence[Any]] = _there["names"]
BODIES: Mapping[str, Sequence[str]] = _there["bodies"]
MAX_BYTES = 20_000


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Half of the sound requests say something that the door can follow further."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    said = (case.method, case.path, case.path_parameters, case.query, repr(case.body))
    random_ = random.Random(repr(said))
    if random_.random() < 0.5:
        return
    for place in (case.path_parameters, case.query):
        _name(random_, place)
    _name(random_, case.body)


def _name(random_: random.Random, said: Any) -> None:
    """Names that are there, wherever one is asked for."""
    if isinstance(said, list):
        for each in said:
            _name(random_, each)
    if not isinstance(said, dict):
        return
    for key, value in said.items():
        if key in NAMES:
            said[key] = random_.choice(NAMES[key])
        else:
            _name(random_, value)


def _as_it_is(_: Any, value: Any) -> Any:
    return value if isinstance(value, bytes) else str(value).encode()


def _body(specimens: Sequence[bytes], seed: int) -> bytes:
    random_ = random.Random(seed)
    return (
        spoilt(random_, specimens)[:MAX_BYTES]
        if random_.random() < 0.8
        else random_.choice(specimens)
    )


def _offer(media: str, words: Sequence[str]) -> None:
    specimens = [base64.b64decode(each) for each in words]
    schemathesis.serializer(media)(_as_it_is)
    drawn = strategies.integers(0, 2**32).map(lambda seed: _body(specimens, seed))
    schemathesis.openapi.media_type(media, drawn)


for _media, _words in BODIES.items():
    _offer(_media, _words)
