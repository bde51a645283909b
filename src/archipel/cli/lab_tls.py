"""`archipel lab start --tls-cert --tls-key`: a lab that holds its certificate itself."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import mending

if TYPE_CHECKING:
    from archipel.lab.certificate import Certificate

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
TLS = (
    click.option(
        "--tls-cert",
        type=FILE,
        metavar="FILE",
        help="Speak HTTPS with this certificate (PEM, with those between it and its authority); read again when it "
        "changes.",
    ),
    click.option(
        "--tls-key", type=FILE, metavar="FILE", help="The certificate's key: PEM, mode 0600."
    ),
)
"""Where the two files lie."""


def certificate_of(chain: Path | None, key: Path | None) -> "Certificate | None":
    """What the options name; None: plain HTTP."""
    if chain is None and key is None:
        return None
    if chain is None or key is None:
        raise click.UsageError("--tls-cert and --tls-key belong together; give both, or neither")
    from archipel.lab.certificate import BadCertificate, Certificate

    with mending(BadCertificate, OSError):
        return Certificate(chain, key)


def shown_url(certificate: "Certificate | None", host: str, port: int) -> str:
    """Where the lab is to be asked: by the name that its certificate is for, if it has one."""
    from archipel.node.address import in_brackets

    if certificate is None:
        return f"http://{in_brackets(host)}:{port}"
    return f"https://{in_brackets(certificate.name or host)}:{port}"
