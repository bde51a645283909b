"""The files of a new version, as every programme's trusted role publishes it: manifest, delta and, where one is due, anchor."""

from pathlib import Path

from archipel.model.versions import encode_anchor, encode_delta
from archipel.work.policies import Policy


def write_weights(
    files: Path, parent: Policy | None, policy: Policy, *, is_anchor: bool
) -> dict[str, int]:
    """Write them into the folder `files`; their sizes, as metrics.

    parent: of the version before; None for version 0. is_anchor: the version is also published whole.

    Raises:
        OSError: the disk is full or not writable.
    """
    state, manifest = policy.state, policy.manifest
    sizes = {"full_bytes": manifest.num_bytes}
    (files / "manifest").write_bytes(manifest.to_bytes())
    if parent is not None:
        delta = encode_delta(parent.state, state, parent.manifest, manifest)
        sizes["delta_bytes"] = (files / "delta").write_bytes(delta)
    if is_anchor:
        sizes["anchor_bytes"] = (files / "anchor").write_bytes(encode_anchor(state))
    return sizes
