"""What lies where in a release bundle. A bundle is a Hugging Face model directory with more beside it.

config.json, *.safetensors, tokenizer.json ...   the last version's weights, as any loader expects them
README.md            the model card (front matter and text)
release.json         the index: every component, its files, licence and digests (`index`)
release.sig          OpenSSF model signature over every other file (`oms`)
release.pem          the public key that it is checked with;  release.voucher  an operator's word for that key
recipe.toml          the recipe as opened;  CITATION.cff;  LICENSES/SPDX-ID.txt
ledger/              a mirror of the ledger, as `archipel ledger mirror` makes it
blobs/sha256/ab/...  what the ledger names: manifests, anchors, deltas, prompts, results, reports, checkpoints
environment/         the environment's files, and the secret, if its holder gives it away
data/                supervised data or its manifest; croissant.json
code/                the source distribution that runs all of it, and its lock
papers/              data card, technical report, summary of training content, evaluation results
provenance/          one signed in-toto statement for each stage
sbom.spdx.json       SPDX 3.0.1, AI and dataset profiles
openness.json        the class computed from the bytes
"""

from typing import Final

CARD: Final = "README.md"
INDEX: Final = "release.json"
SIGNATURE: Final = "release.sig"
KEY: Final = "release.pem"
VOUCHER: Final = "release.voucher"
RECIPE: Final = "recipe.toml"
CITATION: Final = "CITATION.cff"
LICENCES: Final = "LICENSES"
LEDGER: Final = "ledger"
PROOFS: Final = "ledger/proofs"
BLOBS: Final = "blobs"
ENVIRONMENT: Final = "environment"
ENVIRONMENT_SAID: Final = "environment/environment.json"
GIVEN_AWAY: Final = "environment/secret"
DATA: Final = "data"
ROLLOUTS: Final = "data/rollouts.json"
SOURCES: Final = "data/sources.json"
CROISSANT: Final = "data/croissant.json"
CODE: Final = "code"
LOCK: Final = "code/requirements.lock"
PAPERS: Final = "papers"
DATA_CARD: Final = "papers/data-card.md"
REPORT: Final = "papers/technical-report.md"
EU_SUMMARY: Final = "papers/training-content-summary.md"
PAPER: Final = "papers/research-paper"
"""With the ending of the file that its owner gave."""
RESULTS: Final = "papers/evaluation-results.json"
PROVENANCE: Final = "provenance"
SBOM: Final = "sbom.spdx.json"
OPENNESS: Final = "openness.json"


def blob_place(digest: str) -> str:
    """Where the blob `sha256:<hex>` lies, relative to the bundle.

    Raises:
        ValueError: no such digest.
    """
    name, colon, hexadecimal = digest.partition(":")
    if (name, colon, len(hexadecimal)) != ("sha256", ":", 64) or set(hexadecimal) - set(
        "0123456789abcdef"
    ):
        raise ValueError(f"{digest!r:.80} is no digest; expected sha256: and 64 hexadecimal digits")
    return f"{BLOBS}/sha256/{hexadecimal[:2]}/{hexadecimal}"
