"""`archipel release key`: the key that signs releases, as OpenSSF model signing has them."""

from pathlib import Path

import click

from archipel.cli.doors import Mendable, home_folder, mending, show
from archipel.cli.keys import new_passphrase, passphrase_of
from archipel.cli.lab_door import JSON
from archipel.cli.operator import NEW_FILE, SEALED

KEY_FILE = "release.key"


@click.command()
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"File of the key [~/.archipel/release/{KEY_FILE}].",
)
@SEALED
@NEW_FILE
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the public key here, too, as PEM.",
)
@JSON
def command(
    key: Path | None,
    is_sealed: bool,
    new_passphrase_file: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Print the public key that releases are signed by, and its hint; made on first use.

    The hint is the SHA-256 of the public PEM, by which signatures name their key. Publish both where people know you:
    whoever has one of them needs no word of anybody else (`archipel release verify DIR --key FILE`). The file is a
    P-256 key in PEM; the public tool of OpenSSF, `model_signing`, takes it, too, if it is not sealed.

    \b
    Examples:
      archipel release key
      archipel release key --passphrase --out release.pem
    """
    from archipel.key_file import Unusable
    from archipel.release.oms.key import SigningKey

    path = home_folder("release", None) / KEY_FILE if key is None else key
    is_made = not path.exists()
    is_asked = is_sealed or new_passphrase_file is not None
    if is_asked and not is_made:
        raise Mendable(f"{path} is there already and stays as it is; give another --key")
    with mending(Unusable, OSError):
        if is_made:
            found = SigningKey.made()
            word = new_passphrase(path, new_passphrase_file) if is_asked else b""
            if not found.save(path, word):
                raise Mendable(f"{path} was made by another process meanwhile and stays as it is")
        else:
            found = SigningKey.load(path, passphrase_of(path))
        if out is not None:
            out.write_bytes(found.public.pem)
    public = found.public
    said = {"key": str(path), "hint": public.hint, "pem": public.pem.decode(), "made": is_made}
    show(said, as_json, lambda: f"hint {public.hint}\n{public.pem.decode().rstrip()}")
    if is_made:
        click.echo(f"the key is in {path}; a copy of it is the only way back", err=True)
