"""What clients are told of what they have: rows of sessions, models and checkpoints, and pages of them.

Parts: `Checkpoint`, `TrainingRun`, `Session`, `Usage` (what a row is made of); a function for each answer.
Law: nothing here looks anything up; times are seconds since 1970, sizes bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from archipel.door.wire.answers import said
from archipel.door.wire.errors import Told
from archipel.door.wire.paths import CheckpointPath
from archipel.door.wire.reading import Page


@dataclass(frozen=True)
class Checkpoint:
    """One that is kept."""

    path: CheckpointPath
    made_s: float
    num_bytes: int
    is_public: bool = False
    expires_s: float | None = None
    metadata: Mapping[str, str] | None = None

    @property
    def row(self) -> dict[str, Any]:
        """Of a listing."""
        return {
            "checkpoint_id": self.path.id,
            "checkpoint_type": self.path.kind,
            "time": time_of(self.made_s),
            "tinker_path": str(self.path),
            "size_bytes": self.num_bytes,
            "public": self.is_public,
            "expires_at": None if self.expires_s is None else time_of(self.expires_s),
            "user_metadata": _plain(self.metadata),
        }


@dataclass(frozen=True)
class TrainingRun:
    """A model, as its owner lists it."""

    model: str
    base: str
    owner: str
    rank: int
    asked_s: float
    """When something was last asked of it."""
    is_broken: bool = False
    """A training operation of it was refused, and what follows is refused, too."""
    last_training: Checkpoint | None = None
    last_sampler: Checkpoint | None = None
    metadata: Mapping[str, str] | None = None

    @property
    def row(self) -> dict[str, Any]:
        """Of a listing."""
        return {
            "training_run_id": self.model,
            "base_model": self.base,
            "model_owner": self.owner,
            "is_lora": True,
            "corrupted": self.is_broken,
            "lora_rank": self.rank,
            "last_request_time": time_of(self.asked_s),
            "last_checkpoint": None if self.last_training is None else self.last_training.row,
            "last_sampler_checkpoint": None if self.last_sampler is None else self.last_sampler.row,
            "user_metadata": _plain(self.metadata),
        }


@dataclass(frozen=True)
class Session:
    """One of the tenant's own."""

    session: str
    begun_s: float
    owner: str
    models: Sequence[str] = ()
    samplers: Sequence[str] = ()
    num_checkpoints: int = 0
    finished: str | None = None
    """Why its client said that it was done; None: it did not."""
    is_alive: bool = True
    display_name: str | None = None
    metadata: Mapping[str, str] | None = None

    @property
    def row(self) -> dict[str, Any]:
        """What a search finds."""
        status: dict[str, Any] | None = {"type": "active"} if self.is_alive else None
        if self.finished is not None:
            status = {"type": "client_finished", "reason": {"type": self.finished}}
        return {
            "session_id": self.session,
            "created_at": time_of(self.begun_s),
            "owner": self.owner,
            "project_id": "",
            "status": status,
            "checkpoints_count": self.num_checkpoints,
            "display_name": self.display_name,
            "user_metadata": _plain(self.metadata),
        }


@dataclass(frozen=True)
class Usage:
    """Tokens of one kind in one stretch of time."""

    kind: Literal["training", "sampling_prefill", "sampling_sample"]
    begun_s: float
    ended_s: float
    num_tokens: int
    base: str | None = None
    session: str | None = None

    @property
    def row(self) -> dict[str, Any]:
        """As clients read bills."""
        info: dict[str, Any] = {"type": self.kind, "token_count": self.num_tokens}
        if self.kind == "sampling_prefill":
            info["cached"] = False
        return {
            "bucket_start": time_of(self.begun_s),
            "bucket_end": time_of(self.ended_s),
            "base_model": self.base,
            "session_id": self.session,
            "event_info": info,
        }


def checkpoints(rows: Sequence[Checkpoint], page: Page | None = None, total: int = 0) -> Told:
    """A listing: of one model whole, of a tenant by pages of so many in all."""
    cursor = None if page is None else _cursor(page, total)
    return said({"checkpoints": [each.row for each in rows], "cursor": cursor})


def training_runs(rows: Sequence[TrainingRun], page: Page, total: int) -> Told:
    """A page of a listing."""
    return said({"training_runs": [each.row for each in rows], "cursor": _cursor(page, total)})


def session(found: Session) -> Told:
    """One."""
    return said(
        {
            "training_run_ids": list(found.models),
            "sampler_ids": list(found.samplers),
            "user_metadata": _plain(found.metadata),
            "display_name": found.display_name,
        }
    )


def sessions(ids: Sequence[str]) -> Told:
    """A page of ids."""
    return said({"sessions": list(ids)})


def sessions_found(rows: Sequence[Session]) -> Told:
    """Of a search: one page, the newest first."""
    return said({"sessions": [each.row for each in rows], "next_cursor": None})


def usage(rows: Sequence[Usage]) -> Told:
    """Of a time: what was used in each stretch of it. There are no prices."""
    return said({"data": [each.row for each in rows], "sessions": {}})


def archive(url: str, expires_s: float) -> Told:
    """Where the files of a checkpoint are, for clients before 0.30; they want a redirection and do not follow it."""
    expires = datetime.fromtimestamp(expires_s, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    return Told(302, b"", {"location": url, "expires": expires})


def files(urls: Mapping[str, str], expires_s: float) -> Told:
    """The same for later ones: an address for each file."""
    return said({"urls": dict(urls), "expires": time_of(expires_s)})


def time_of(at_s: float) -> str:
    """A moment as clients read it."""
    return datetime.fromtimestamp(at_s, UTC).isoformat()


def _cursor(page: Page, total: int) -> dict[str, int]:
    return {"offset": page.offset, "limit": page.limit, "total_count": total}


def _plain(metadata: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if metadata is None else dict(metadata)
