"""Folders with a model in them, whole ones and spoilt ones: tiny, and made here."""

import io
import json
import struct
import tarfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
APACHE = (REPOSITORY / "LICENSE").read_text()
WORDS = (
    "What this is, where it comes from, what it is for and what it is not for is told here. " * 4
)
CODE = '"""Says what it does."""\n\n\ndef run() -> int:\n    return 3\n'


def safetensors(values: tuple[int, ...] = (1, 2, 3, 4)) -> bytes:
    """One tensor of bytes."""
    table = json.dumps(
        {"w": {"dtype": "U8", "shape": [len(values)], "data_offsets": [0, len(values)]}}
    ).encode()
    return struct.pack("<Q", len(table)) + table + bytes(values)


def archive(files: dict[str, str]) -> bytes:
    """A source archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        for name, text in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(text.encode())
            made.addfile(about, io.BytesIO(text.encode()))
    return out.getvalue()


WHOLE: dict[str, bytes | str] = {
    "README.md": f"---\nlicense: openmdw-1.1\n---\n# A model\n{WORDS}",
    "config.json": '{"model_type": "tiny"}',
    "model.safetensors": safetensors(),
    "modeling_tiny.py": CODE,
    "train.py": CODE,
    "generate.py": CODE,
    "evaluate.py": CODE,
    "prepare_data.py": CODE,
    "requirements.txt": "torch==2.13\n",
    "data/train.jsonl": '{"text": "a"}\n{"text": "b"}\n',
    "eval_data.jsonl": '{"question": "1+1"}\n',
    "eval_results.json": '{"accuracy": 0.5}',
    "data_card.md": f"# Data\n{WORDS}",
    "technical_report.md": f"# Report\n{WORDS}",
    "paper.md": f"# Paper\n{WORDS}",
    "checkpoints/step-1/model.safetensors": safetensors((5, 6)),
}
"""A stranger's directory with all that class I asks for."""


def write(folder: Path, files: dict[str, bytes | str]) -> Path:
    """The files, in a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder
