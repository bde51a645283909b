"""One place for how an optional part is installed: as `make install` prints it, for the package is in no registry."""


def install(extra: str) -> str:
    """The command that installs this extra, to be run where the sources are."""
    return f"pip install -c constraints.txt -e '.[{extra}]'"


def needs(what: str, extra: str) -> str:
    """That `what` needs an extra which is not here, and how to get it."""
    return f"{what} needs an extra that is not installed; in the folder of archipel's sources: {install(extra)}"
