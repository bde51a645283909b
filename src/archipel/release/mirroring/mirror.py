"""`mirror`: a release brought from one or several origins into a folder; only what is missing is fetched.

Law: an origin that lies, stalls or has another release is left and named; the rest comes from the others. A call that
was stopped goes on from what it has.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from archipel.release import places
from archipel.release.index import MAX_INDEX_BYTES, read_index
from archipel.release.mirroring.board import Board, Wanted
from archipel.release.mirroring.fetching import Pace, Stopped, fetch
from archipel.release.mirroring.kept import Target
from archipel.release.mirroring.origins import Cut, NotThere, Origin, Unusable
from archipel.release.mirroring.signed import Agreed, CannotMirror
from archipel.release.oms.folder import file_sha256

MAX_CUTS = 20
"""Times that one file may break off at one origin."""
REST_S, MAX_REST_S = 0.01, 2.0
"""After a file broke off, doubled each time."""
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take."""

    most_bytes: int
    """That are fetched."""
    stall_s: float
    """Seconds without a byte after which an origin is left."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What came of it."""

    hint: str
    """Of the key that signed the release."""
    num_files: int
    fetched: dict[str, int]
    """Origin -> bytes that came from it."""
    num_fetched: int
    """Files that were missing, and are there now."""
    left: dict[str, str]
    """Origin -> why nothing more was asked of it."""
    lacking: tuple[str, ...]
    """Files that no origin had as they were signed."""
    strangers: tuple[str, ...]
    """Files in the folder that are no part of the release."""

    @property
    def is_whole(self) -> bool:
        """Whether every signed file lies there, and nothing else does."""
        return not (self.lacking or self.strangers)


def mirror(agreed: Agreed, kept: Target, limits: Limits, tell: Tell) -> Mirrored:
    """Bring what is missing.

    Raises:
        CannotMirror: another release lies there, its index does not come or does not hold, or the disk is left by a
            link. OSError: the disk. KeyboardInterrupt: what came stays.
    """
    kept.require_same(agreed.signature)
    missing = kept.lacking(agreed.files, tell)
    call = _Call(agreed, kept, limits, tell)
    index = missing.pop(agreed.files.digests[places.INDEX], None)
    if index is not None:
        digest = agreed.files.digests[places.INDEX]
        call.run([Wanted(digest, tuple(index), MAX_INDEX_BYTES)])
        if call.lacking:
            reasons = "; ".join(f"{name}: {why}" for name, why in call.left.items())
            raise CannotMirror(f"no origin has {places.INDEX} as it was signed. {reasons}")
    try:
        sizes = {
            blob.digest: blob.size
            for blob in read_index(kept.read(places.INDEX, MAX_INDEX_BYTES + 1)).blobs
        }
    except ValueError as error:
        raise CannotMirror(f"{places.INDEX} is signed, and is none: {error!s:.300}") from None
    call.run(
        [
            Wanted(digest, tuple(paths), sizes.get(f"sha256:{digest}", limits.most_bytes))
            for digest, paths in missing.items()
        ]
    )
    if not call.lacking:
        kept.sign(agreed.signature)
    return Mirrored(
        hint=agreed.hint,
        num_files=len(agreed.files.digests),
        fetched=dict(call.fetched),
        num_fetched=call.num_fetched,
        left=call.left,
        lacking=tuple(sorted(call.lacking)),
        strangers=tuple(kept.strangers(agreed.files)),
    )


@dataclass(slots=True)
class _Call:
    agreed: Agreed
    kept: Target
    limits: Limits
    tell: Tell
    fetched: Counter[str] = field(default_factory=Counter)
    num_fetched: int = 0
    left: dict[str, str] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.left |= self.agreed.left

    def run(self, wanted: list[Wanted]) -> None:
        """All of these, from all origins that are left."""
        origins = [each for each in self.agreed.origins if each.name not in self.left]
        board = Board(wanted, [each.name for each in origins])
        workers = [
            threading.Thread(target=self._work, args=(origin, board), name=f"mirror {origin.name}")
            for origin in origins
            for _ in range(min(origin.at_once, max(1, len(wanted))))
        ]
        for each in workers:
            each.start()
        try:
            for each in workers:
                while each.is_alive():
                    each.join(0.2)
                    self.tell(
                        f"{board.num_waiting} files to come; {sum(self.fetched.values())} bytes came"
                    )
        finally:
            board.stop()
            for each in workers:
                each.join()
        if self.faults:
            raise self.faults[0]
        self.left |= board.left
        self.lacking += [path for each in board.given_up for path in each.paths]

    def _work(self, origin: Origin, board: Board) -> None:
        while (wanted := board.take(origin.name)) is not None:
            try:
                is_there = self._bring(origin, wanted, board)
            except Stopped:
                board.back(wanted)
            except NotThere:
                wanted.tried.add(origin.name)
                board.back(wanted)
            except Cut as error:
                wanted.cuts[origin.name] += 1
                if wanted.cuts[origin.name] > MAX_CUTS:
                    board.leave(origin.name, f"it broke off {MAX_CUTS} times: {error}")
                board.back(wanted)
                board.rest(min(REST_S * 2 ** wanted.cuts[origin.name], MAX_REST_S))
            except Unusable as error:
                board.leave(origin.name, str(error))
                board.back(wanted)
            except (OSError, CannotMirror) as error:
                self.faults.append(error)
                board.stop()
                board.back(wanted)
            else:
                board.done() if is_there else board.back(wanted)

    def _bring(self, origin: Origin, wanted: Wanted, board: Board) -> bool:
        """Whether the file is there now."""
        part = self.kept.part(wanted.digest)
        if part.exists() and not wanted.senders:
            wanted.senders.add("an earlier call")

        def may_come(num_bytes: int) -> None:
            if board.is_stopped:
                raise Stopped
            with self._lock:
                self.fetched[origin.name] += num_bytes
                if sum(self.fetched.values()) > self.limits.most_bytes:
                    raise CannotMirror(
                        f"more than {self.limits.most_bytes} bytes would be fetched; allow more with --max-gb"
                    )

        if not self._is_whole(wanted):
            wanted.senders.add(origin.name)
            pace = Pace(self.limits.stall_s, may_come)
            if fetch(origin, wanted.paths[0], part, wanted.most, pace):
                wanted.senders.clear()
                wanted.senders.add(origin.name)
        if not self._is_whole(wanted):
            part.unlink(missing_ok=True)
            alone = wanted.senders == {origin.name}
            wanted.senders.clear()
            if alone:
                raise Unusable(f"its {wanted.paths[0]:.200} is not as it was signed")
            return False
        self.kept.place_at(wanted.digest, wanted.paths)
        with self._lock:
            self.num_fetched += len(wanted.paths)
        return True

    def _is_whole(self, wanted: Wanted) -> bool:
        part = self.kept.part(wanted.digest)
        return part.exists() and file_sha256(part)[0] == wanted.digest
