"""Every function of the source that parses bytes is met by a reader of the fuzzer, or reads our own bytes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from fuzz.parsers import SOURCE, parsers
from fuzz.readers import READERS

OWN = {
    # What this machine wrote for itself, behind a digest or in a file that is replaced whole:
    ("node/labs_file.py", "parse_labs"): "its own operator's file, within MAX_FILE_BYTES",
    ("serve/cascade/away.py", "body_of"): "of a schema that was a JSON object when it came",
    ("dashboard/chronicle/reading.py", "_told"): "of rows that this machine's own chronicle holds",
    ("planning/compiled.py", "folder"): "files of the package, and what was kept of them",
    ("dashboard/chronicle/writing.py", "lease"): "of rows that this machine's own chronicle holds",
    ("lab/recovery.py", "_payload"): "of an entry of the lab's own ledger, whose head was verified",
    ("training/resuming.py", "stated"): "of a checkpoint whose digest held",
    ("training/resuming.py", "newest"): "between ranks of one work process",
    ("training/packing.py", "_choices"): "of a length and of numbers that were looked at before",
    ("training/sharding.py", "share_bytes"): "between ranks of one work process",
    ("training/sharding.py", "all_ranks_say"): "between ranks of one work process",
    ("work/graded.py", "_earned"): "between ranks of one work process",
    ("work/rank_parts.py", "compute"): "between ranks of one work process",
    ("work/rank_parts.py", "write_shared"): "between ranks of one work process",
    ("model/adapter_files.py", "_in_order"): "what the library wrote a moment before",
    ("model/stock_classes.py", "_settings_of"): "a library's words about its own object",
    ("model/pieces.py", "pieces_of"): "a library's words about its own object",
    ("training/lessons.py", "_form"): "a library's words about its own object",
    ("serve/grammar.py", "leave"): "a library's words about its own object",
    ("model/stock_config.py", "to_hf"): "of what config.json held, read within bounds before",
    (
        "model/stock_config.py",
        "stock_of",
    ): "the same; strange values are tests/work/test_stock_backend.py's",
    ("cli/demo_real.py", "_folder"): "what the same command was asked when it began",
    ("model/gguf_words.py", "words_of"): "a library's words about its own object",
    ("model/gguf_tokenizer.py", "parting_named"): "a library's words about its own object",
    ("work/grading/talk.py", "hear"): "of the trusted parent",
    (
        "training/environments/task_child.py",
        "serve",
    ): "of the parent; whatever is raised is its answer",
    ("training/environments/programs.py", "judge"): "of the trusted parent",
    ("training/corpus/shard_child.py", "serve"): "of the parent, which started it",
    ("training/corpus/child_line.py", "_shard"): "of our own child, a line of bounded length",
    ("engine/exact/hashing.py", "row_of"): "of bytes whose length and digest were compared before",
    (
        "engine/exact/hashing.py",
        "number_of",
    ): "of bytes whose length and digest were compared before",
    ("cli/beside.py", "serve"): "of the lab that started it, a line of bounded length",
    ("node/envelopes.py", "find"): "of a node's own file, whose damage is seen before",
    ("serve/pool/weights.py", "find"): "of bytes whose length and digest were compared before",
    ("cli/serve_pool_status.py", "standing"): "what this user's own gateway writes, mode 0600",
    # What a door wrote into its own journal, from what was read within bounds and checked when it came:
    ("door/http/listings.py", "get_info"): "a row of the door's own journal",
    ("door/http/listings.py", "weights_info"): "a row of the door's own journal",
    ("door/listing.py", "checkpoint_of"): "a row of the door's own journal",
    ("door/listing.py", "run_of"): "a row of the door's own journal",
    ("door/listing.py", "session_of"): "a row of the door's own journal",
    ("door/listing.py", "sessions_like"): "a row of the door's own journal",
    ("door/models.py", "form_of"): "a row of the door's own journal",
    ("door/models.py", "form_of_checkpoint"): "a row of the door's own journal",
    ("door/packed.py", "unpack"): "a row of the door's own journal",
    ("door/recorded.py", "_sequence"): "a row of the door's own journal",
    ("door/sampled.py", "answer_bytes"): "a row of the door's own journal",
    ("door/sampled.py", "written_bytes"): "a row of the door's own journal",
    ("door/turning.py", "_save"): "a row of the door's own journal",
    ("dashboard/sessions/routes.py", "_stamp"): "an entry of the ledger that pages are cut from",
    # What comes with the package:
    ("observatory/checking.py", "published"): "a table of the package",
    ("release/code.py", "_requirements"): "pyproject.toml of this very software",
    ("planning/serving_rows.py", "points"): "a table of the package",
    ("planning/documented.py", "rows"): "a table of the package",
    # What tests over a network or a process meet:
    ("node/lab_reader.py", "get"): "tests/node: what answers there is no lab",
    ("cli/ledger_reader.py", "_json"): "tests/cli: what answers there is no lab",
    (
        "training/environments/gym_entries.py",
        "_read_list",
    ): "a setting of a recipe, read before as TOML",
}


@contextmanager
def _called(wanted: dict[str, set[str]]) -> Iterator[set[tuple[str, str]]]:
    """Which of these functions are called meanwhile, in this thread."""
    files = {str(SOURCE / name): name for name in wanted}
    seen: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        name = files.get(frame.f_code.co_filename)
        if event == "call" and name is not None:
            seen.add((name, frame.f_code.co_name))

    before = sys.gettrace()
    sys.settrace(
        note
    )  # hears calls of Python's functions alone; a profiler hears C's and all ends too
    try:
        yield seen
    finally:
        sys.settrace(before)


def test_whoever_parses_foreign_bytes_has_a_reader_that_comes_there() -> None:
    wanted = parsers()
    with _called(wanted) as seen:
        for reader in READERS.values():
            for specimen in reader.specimens:
                with suppress(*reader.errors):
                    reader.read(specimen)
    everyone = {(file, name) for file, names in wanted.items() for name in names}
    assert everyone - seen - OWN.keys() == set(), "write a reader, or say whose bytes these are"
    assert OWN.keys() <= everyone, "it parses no more"


def test_a_parser_is_found_wherever_it_stands() -> None:
    found = parsers()
    assert "from_json" in found["identity.py"]
    assert {"_plain", "_unsealed"} <= found["key_file.py"]
    assert "unpack_parcel" in found["records/parcel.py"], "a method of an object without a name"
    assert "bench" not in {name.split("/")[0] for name in found}
