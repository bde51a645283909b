"""What the public tools say of a release's papers: run by an interpreter that has them, and knows nothing of archipel.

    python papers_trial.py FOLDER    FOLDER has the papers, an `asked.json` and a signed model directory `model`

Prints one JSON object: tool -> what it found. Source of each: the project that publishes it.
"""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def model_signing(folder: Path) -> Any:
    """The command line of OpenSSF model signing: what we signed, what it signs itself, a changed file."""
    program = [sys.executable, "-m", "model_signing"]
    model, public = folder / "model", folder / "key.pem"

    def verify(signature: Path, ignored: Path) -> bool:
        words = [*program, "verify", "key", str(model), "--signature", str(signature)]
        words += ["--public_key", str(public), "--ignore-paths", str(ignored)]
        return subprocess.run(words, capture_output=True, timeout=120).returncode == 0

    ours, theirs = model / "release.sig", folder / "theirs.sig"
    found = {"ours": verify(ours, ours)}
    words = [*program, "sign", "key", str(model), "--signature", str(theirs)]
    words += ["--private_key", str(folder / "key"), "--ignore-paths", str(ours)]
    found["signed"] = subprocess.run(words, capture_output=True, timeout=120).returncode == 0
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found["changed"] = verify(ours, ours)
    weights.write_bytes(whole)
    return found


def securesystemslib(folder: Path) -> Any:
    """DSSE envelopes of provenance, checked with the key that a did:key names."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    asked = json.loads((folder / "asked.json").read_bytes())
    key = SSlibKey(asked["did"], "ed25519", "ed25519", {"public": asked["public"]})
    found = {}
    for path in sorted((folder / "provenance").glob("*.dsse.json")):
        envelope = Envelope.from_dict(json.loads(path.read_bytes()))
        found[path.name] = list(envelope.verify([key], 1)) == [asked["did"]]
    return found


def in_toto(folder: Path) -> Any:
    """Statements and SLSA provenance, each by its own published type, which refuses unknown fields."""
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Form

    found = {}
    for path in sorted((folder / "provenance").glob("*.json")):
        if path.name.endswith(".dsse.json"):
            continue
        said = json_format.Parse(path.read_bytes(), Form())
        Statement.copy_from_pb(said).validate()
        told = json.loads(path.read_bytes())
        provenance = json_format.ParseDict(told["predicate"], provenance_pb2.Provenance())
        found[path.name] = provenance.run_details.builder.id
    return found


def spdx(folder: Path) -> Any:
    """The published model of SPDX 3.0.1, generated from its SHACL shapes: classes, properties, counts, values."""
    from spdx_python_model import v3_0_1

    objects = v3_0_1.SHACLObjectSet()
    with (folder / "sbom.spdx.json").open("rb") as file:
        v3_0_1.JSONLDDeserializer().read(file, objects)
    missing = sorted(objects.link())
    v3_0_1.JSONLDSerializer().write(objects, io.BytesIO())  # counts are looked at in writing
    kinds: dict[str, int] = {}
    for each in objects.foreach():
        kinds[type(each).__name__] = kinds.get(type(each).__name__, 0) + 1
    return {"missing": missing, "kinds": kinds}


def mlcroissant(folder: Path) -> Any:
    """The data set's description, with every warning."""
    import mlcroissant

    found = mlcroissant.Dataset(jsonld=str(folder / "data/croissant.json"))
    issues = found.metadata.ctx.issues
    files = sorted(each.id for each in found.metadata.distribution)
    return {"errors": sorted(issues.errors), "warnings": sorted(issues.warnings), "files": files}


def cffconvert(folder: Path) -> Any:
    """The citation by the schema of its format, and as BibTeX."""
    from cffconvert.cli.create_citation import create_citation

    citation = create_citation(str(folder / "CITATION.cff"), None)
    citation.validate()
    return citation.as_bibtex()


TRIALS: tuple[Callable[[Path], Any], ...] = (
    model_signing,
    securesystemslib,
    in_toto,
    spdx,
    mlcroissant,
    cffconvert,
)


def main() -> None:
    """Every tool in turn; one that fails says how, and the others go on."""
    folder, found = Path(sys.argv[1]), {}
    for trial in TRIALS:
        try:
            found[trial.__name__] = trial(folder)
        except Exception as error:  # noqa: BLE001  what a tool does not take is what is asked
            found[trial.__name__] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
