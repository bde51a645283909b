"""What a release was made from: parents by their digests and terms, and whether those terms allow it.

A parent is a release (its signature must hold, and its index be as signed) or any model directory (its tensors are
hashed, its card says the licence). Law: no word of a parent is believed beyond its digest and what it states of itself.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

from archipel.release import places
from archipel.release.index import LICENCE, MAX_INDEX_BYTES, Parent, Released, read_index
from archipel.release.licence_terms import RESTRICTED
from archipel.release.mirroring.origins import FolderOrigin, Unusable
from archipel.release.mirroring.signed import CannotMirror, Whose, agree, read_whole
from archipel.release.openness.data_files import BadFile, front_matter
from archipel.release.openness.licences import canonical
from archipel.release.openness.plain_yaml import BadYaml, read_plain_yaml
from archipel.release.verify.files import read_bounded
from archipel.release.weights.folder import state_of

Relation = Literal["fine-tuned from", "distilled from", "adapter of", "merged from"]
RELATIONS: Final[Mapping[str, Relation]] = {
    "fine-tuned": "fine-tuned from",
    "distilled": "distilled from",
    "adapter": "adapter of",
    "merged": "merged from",
}
"""As they are asked for -> as an index has them."""
MAX_CARD_BYTES = 4 * 1024 * 1024
_RESTRICTED: Final = {each.lower(): each for each in RESTRICTED}


class NoParent(ValueError):
    """What was named is no model that a release could be made from; the message says what was expected."""


def parent_at(folder: Path, relation: Relation) -> Parent:
    """The parent that lies in `folder`.

    Raises:
        NoParent: no release and no model directory lies there, or it does not hold.
    """
    if (folder / places.INDEX).is_file():
        return _released(folder, relation)
    names = sorted(each.name for each in folder.glob("*.safetensors"))
    if not names:
        raise NoParent(
            f"{folder} holds neither {places.INDEX} nor *.safetensors; a parent is a model directory"
        )
    try:
        weights, _ = state_of(folder, names)
    except (ValueError, OSError) as error:
        raise NoParent(f"{folder}: {error!s:.300}") from None
    return Parent(
        relation=relation, name=folder.resolve().name, weights=weights, licence=_of_card(folder)
    )


def read_released(folder: Path) -> tuple[Released, bytes]:
    """(index, its bytes) of a release whose signature holds, by the key that it brings.

    Raises:
        NoParent: it is none.
    """
    origin = FolderOrigin(folder)
    try:
        agreed = agree([origin], Whose())
        data = read_whole(origin, places.INDEX, MAX_INDEX_BYTES)
        if hashlib.sha256(data).hexdigest() != agreed.files.digests[places.INDEX]:
            raise NoParent(f"{folder / places.INDEX} is not as it was signed")
        return read_index(data), data
    except (CannotMirror, Unusable, ValueError) as error:
        raise NoParent(f"the release {folder} does not hold: {error!s:.400}") from None


def _released(folder: Path, relation: Relation) -> Parent:
    index, data = read_released(folder)
    return Parent(
        relation=relation,
        name=index.title,
        weights=index.weights,
        release=f"sha256:{hashlib.sha256(data).hexdigest()}",
        licence=index.licence_of("parameters"),
    )


def _of_card(folder: Path) -> str | None:
    """The licence that a model directory's card states; None: none that has the form of one."""
    try:
        text = read_bounded(folder / places.CARD, MAX_CARD_BYTES).decode()
        said = read_plain_yaml((front_matter(text) or "").encode())
    except (OSError, ValueError, BadFile, BadYaml):
        return None
    stated = said.get("license") if isinstance(said, dict) else None
    if stated == "other":
        stated = said.get("license_name")
    if not isinstance(stated, str) or not re.fullmatch(LICENCE, stated):
        return None
    return canonical(stated) or _RESTRICTED.get(stated.lower(), stated)


def with_reasons(parents: Iterable[Parent], despite: Mapping[str, str]) -> tuple[Parent, ...]:
    """The parents, each with its owner's reason, where there is one."""
    return tuple(
        each.model_copy(update={"despite": despite[each.name]}) if each.name in despite else each
        for each in parents
    )
