"""A model directory from a hub that speaks Hugging Face's protocol, by its name: only the files that are needed.

Parts: `fetch_from_hub`, through the library `huggingface_hub` (an extra). Configuration and tokenizer come first
and are read, so that a model which cannot be used is refused by name before its weights are fetched.
Laws: safetensors only; every file has the digest that the hub states for the commit; the directory appears whole
or not at all, and what was fetched before an interruption is not fetched again.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from archipel.extras import needs
from archipel.model.config_files import InvalidModel, read_config
from archipel.model.new_directory import require_free
from archipel.model.tokenizer import InvalidTokenizer, Tokenizer
from archipel.model.weight_files import INDEX_FILE, MAX_INDEX_BYTES, SINGLE_FILE, named_files

PREFIX = "hf:"
_NAME = re.compile(r"hf:(\w[\w.-]*/\w[\w.-]*)(?:@([\w./-]+))?", re.ASCII)
_SMALL = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
)  # fmt: skip
_NEEDED = ("config.json", "tokenizer.json")
_LICENCE_FILE = re.compile(r"(LICEN[CS]E|NOTICE)[\w.-]{0,40}", re.IGNORECASE)
MAX_SMALL_BYTES = 64 * 1024 * 1024
"""Largest file besides weights that is fetched: the largest tokenizer.json are near 35 MB."""
SPARE_BYTES = 256 * 1024 * 1024
"""Left on the disk."""
PART, COMMIT_FILE = ".part-", ".commit"
"""While it is fetched: before the name of a file that is not whole, and which commit it is."""
_CHUNK_BYTES = 8 * 1024 * 1024
T = TypeVar("T")
Tell = Callable[[str], None]


class NotFetched(RuntimeError):
    """The hub has no such model, did not answer, or gave other bytes than it names."""


@dataclass(frozen=True)
class Fetched:
    """What became a directory."""

    repository: str
    commit: str
    licence: str | None
    """By the model's card."""
    sha256: dict[str, str]
    """File -> digest of its bytes."""
    num_bytes: int


@dataclass(frozen=True)
class _Offered:
    """One file that the hub has."""

    name: str
    size: int
    sha256: str | None
    """Of large files; of others git's own digest is known."""
    git: str | None


def fetch_from_hub(name: str, out: Path, tell: Tell, endpoint: str | None = None) -> Fetched:
    """Write the model `hf:ORG/NAME` or `hf:ORG/NAME@REVISION` to the new directory `out`.

    endpoint: another hub's address; None: as `huggingface_hub` is set up.

    Raises:
        NotFetched: the library is not installed, or see there.
        InvalidModel, InvalidTokenizer: the model cannot be used here; nothing large was fetched.
        FileExistsError, OSError: something is at `out`, or it cannot be written.
    """
    require_free(out)
    hub = _Hub(name, out.with_name(f".{out.name}.fetching"), endpoint)
    tell(f"{hub.repository} at {hub.commit[:12]}, licence {hub.licence or 'not stated'}")
    hub.fetch([each for each in hub.offered if each in _SMALL or _LICENCE_FILE.fullmatch(each)])
    read_config(hub.folder)
    Tokenizer.from_directory(hub.folder)
    weights = hub.weights()
    total = sum(hub.offered[each].size for each in weights)
    _require_room(hub.folder, total)
    tell(f"fetching {total / 1e6:,.0f} MB of weights in {len(weights)} files")
    hub.fetch(weights)
    digests = hub.verified()
    (hub.folder / COMMIT_FILE).unlink()
    if out.is_dir():
        out.rmdir()
    hub.folder.replace(out)
    size = sum(hub.offered[each].size for each in digests)
    return Fetched(hub.repository, hub.commit, hub.licence, digests, size)


class _Hub:
    """One commit of one repository, and the folder that it is fetched to."""

    def __init__(self, name: str, folder: Path, endpoint: str | None) -> None:
        found = _NAME.fullmatch(name)
        if found is None:
            raise NotFetched(
                f"{name!r:.100} is no name of a model; expected hf:ORG/NAME[@REVISION]"
            )
        self.repository, revision = found.groups()
        self.folder, self._endpoint = folder, endpoint
        try:
            import huggingface_hub
        except ImportError:
            raise NotFetched(needs(f"fetching {name!r:.100} from the hub", "hub")) from None
        self._library = huggingface_hub
        api = huggingface_hub.HfApi(endpoint=endpoint)
        info = self._asked(
            lambda: api.model_info(self.repository, revision=revision, files_metadata=True)
        )
        self.commit = str(info.sha)
        self.licence = _licence(info)
        self.offered = _offered(info.siblings or [])
        _prepare(folder, self.commit)
        if missing := [each for each in _NEEDED if each not in self.offered]:
            raise NotFetched(
                f"{self.repository} has no {missing[0]}; it holds {', '.join(sorted(self.offered)[:8])}"
            )

    def weights(self) -> list[str]:
        """The safetensors files, by the index where there is one."""
        if SINGLE_FILE in self.offered:
            return [SINGLE_FILE]
        if INDEX_FILE not in self.offered:
            raise NotFetched(
                f"{self.repository} has neither {SINGLE_FILE} nor {INDEX_FILE}; it holds "
                f"{', '.join(sorted(self.offered)[:8])}: only safetensors are fetched"
            )
        self.fetch([INDEX_FILE])
        names = named_files(self.folder / INDEX_FILE)
        if missing := [each for each in names if each not in self.offered]:
            raise NotFetched(f"the index names {missing[0]}, which {self.repository} has not")
        return names

    def fetch(self, names: Sequence[str]) -> None:
        """Bring these files, or what is missing of them."""
        for name in names:
            limit = MAX_INDEX_BYTES if name == INDEX_FILE else MAX_SMALL_BYTES
            if not name.endswith(".safetensors") and self.offered[name].size > limit:
                raise NotFetched(
                    f"{name} has {self.offered[name].size} bytes; expected at most {limit}"
                )
            self._bring(name)

    def _bring(self, name: str) -> None:
        """By the library's pieces: what it keeps of a whole file, it begins anew after an interruption."""
        path, size = self.folder / name, self.offered[name].size
        if path.is_file() and path.stat().st_size == size:
            return
        part = self.folder / f"{PART}{name}"
        if part.is_file() and part.stat().st_size > size:
            part.unlink()
        with part.open("ab") as file:
            self._asked(lambda: self._stream(name, file))
        part.replace(path)

    def _stream(self, name: str, file: BinaryIO) -> None:
        """What is missing of it."""
        from huggingface_hub import file_download

        url = self._library.hf_hub_url(
            self.repository, name, revision=self.commit, endpoint=self._endpoint
        )
        headers = self._library.utils.build_hf_headers()  # type: ignore[attr-defined]  # documented
        place = self._library.get_hf_file_metadata(
            url, headers=dict(headers), endpoint=self._endpoint
        ).location
        if urlsplit(place).netloc != urlsplit(url).netloc:  # a store of bytes: no token for it
            headers.pop("authorization", None)
        there, size = file.tell(), self.offered[name].size
        if there < size:
            file_download.http_get(
                place, file, resume_size=there, headers=headers, expected_size=size
            )

    def verified(self) -> dict[str, str]:
        """The sha256 of each file that was fetched, all being what the hub names."""
        digests = {}
        for path in sorted(each for each in self.folder.iterdir() if each.name != COMMIT_FILE):
            offered = self.offered[path.name]
            sha256, git = _digests(path)
            if (offered.sha256 or sha256, offered.git if not offered.sha256 else git) != (
                sha256,
                git,
            ):
                path.unlink()
                raise NotFetched(
                    f"{path.name} has sha256 {sha256}, git {git}; the hub names "
                    f"{offered.sha256 or offered.git}: fetch it again"
                )
            digests[path.name] = sha256
        return digests

    def _asked(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - whatever the library's own client raises
            raise NotFetched(f"{self.repository}: {_first_line(error)}") from None


def _prepare(folder: Path, commit: str) -> None:
    """The folder that an interrupted fetch of the same commit left, or an empty one."""
    begun = folder / COMMIT_FILE
    if folder.is_dir() and not (begun.is_file() and begun.read_text() == commit):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    begun.write_text(commit)


def _offered(siblings: Sequence[Any]) -> dict[str, _Offered]:
    """Files of the repository's root, by name."""
    found = {}
    for each in siblings:
        if "/" in each.rfilename or "\\" in each.rfilename:
            continue
        sha256 = each.lfs.sha256 if each.lfs is not None else None
        found[each.rfilename] = _Offered(each.rfilename, int(each.size or 0), sha256, each.blob_id)
    return found


def _licence(info: Any) -> str | None:
    card = info.card_data
    stated = card.get("license") if isinstance(card, Mapping) else getattr(card, "license", None)
    if stated is None:
        tags = [tag for tag in info.tags or [] if tag.startswith("license:")]
        stated = tags[0].removeprefix("license:") if tags else None
    return None if stated is None else str(stated)


def _digests(path: Path) -> tuple[str, str]:
    """Sha256 of a file's bytes, and git's digest of it as a blob."""
    plain = hashlib.sha256()
    git = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            plain.update(chunk)
            git.update(chunk)
    return plain.hexdigest(), git.hexdigest()


def _require_room(folder: Path, num_bytes: int) -> None:
    there = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    free = shutil.disk_usage(folder).free
    if num_bytes - there + SPARE_BYTES > free:
        raise NotFetched(
            f"the weights take {num_bytes / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; make room, or name "
            "a place on another disk"
        )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__


__all__ = ["Fetched", "InvalidModel", "InvalidTokenizer", "NotFetched", "fetch_from_hub"]
