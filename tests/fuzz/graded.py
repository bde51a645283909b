"""Readers of what a model's folder and the openness tool's files say."""

import json
import struct
import tempfile
from pathlib import Path

from archipel.release.openness.card import Grade, read_grade
from archipel.release.openness.code_files import look_at_archive, statements
from archipel.release.openness.contents import look
from archipel.release.openness.data_files import BadFile
from archipel.release.openness.grade import grade
from archipel.release.openness.licence_words import recognise
from archipel.release.openness.manifests import stated_digests
from archipel.release.openness.mot_file import BadModelFile, read_model_file
from archipel.release.openness.rebuilt import Rebuilt, read_rebuilt
from archipel.release.openness.tensor_files import tensors_end
from fuzz.reading import Reader
from model_folders import APACHE, CODE, WHOLE, archive, safetensors, write
from specimens import POLICY

MODEL_FILE = {
    "release": {
        "name": "x",
        "license": {"distribution": {"name": "MIT", "path": ""}},
        "components": [{"name": "Model card", "license": "MIT"}, {"name": "Datasets"}],
    }
}
CROISSANT = {"distribution": [{"contentUrl": "train.jsonl", "sha256": "0" * 64}]}


def _in_file(name: str, data: bytes) -> None:
    """Looked at as a file of a stranger's folder; what is wrong is said, never raised."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), {name: data})
        look(Path(folder), name)


def _archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "code.tar.gz"
        path.write_bytes(data)
        look_at_archive(path)


def _card(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        grade(write(Path(folder), {"README.md": data}))


def _whole() -> Grade:
    with tempfile.TemporaryDirectory() as folder:
        return grade(write(Path(folder), WHOLE))


def readers() -> dict[str, Reader]:
    """One for each."""
    tensors = safetensors()
    table = tensors[8 : 8 + struct.unpack("<Q", tensors[:8])[0]]
    rebuilt = Rebuilt(release=POLICY, kinds={"parameters": True})
    return {
        "model files": Reader(
            read_model_file,
            (json.dumps(MODEL_FILE).encode(), b"release:\n  name: x\n  components: []\n"),
            (BadModelFile,),
        ),
        "model cards": Reader(_card, (b"---\nlicense: mit\n---\n# A model\n",), ()),
        "tables of tensors": Reader(tensors_end, (table,), (BadFile,)),
        "foreign Python": Reader(statements, (CODE.encode(),), (BadFile,)),
        "foreign archives": Reader(_archive, (archive({"a.py": CODE}),), (BadFile,)),
        "foreign JSON lines": Reader(lambda data: _in_file("a.jsonl", data), (b'{"a":1}\n',), ()),
        "foreign JSON": Reader(lambda data: _in_file("a.json", data), (b'{"a":1}',), ()),
        "foreign TOML": Reader(lambda data: _in_file("a.toml", data), (b"a = 1\n",), ()),
        "licence texts": Reader(
            lambda data: recognise(data.decode(errors="replace")), (APACHE[:4000].encode(),), ()
        ),
        "manifests of data": Reader(
            stated_digests, (json.dumps(CROISSANT).encode(),), (ValueError,)
        ),
        "grades": Reader(read_grade, (_whole().to_bytes(),), (ValueError,)),
        "rebuilds' reports": Reader(read_rebuilt, (rebuilt.to_bytes(),), (ValueError,)),
    }
