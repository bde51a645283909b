"""The library `transformers`, an extra, and its complaints on one line."""

from typing import Any

from archipel.extras import needs


class NotInstalled(ValueError):
    """The package is not there; the message says how to get it."""


def library() -> Any:
    """The package, silent: its warnings are for who loads models by hand.

    Raises:
        NotInstalled: it is not there.
    """
    try:
        import transformers
    except ImportError as error:
        said = needs('model.backend = "transformers"', "transformers")
        raise NotInstalled(f"{said} ({error})") from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def has_class(name: object) -> bool:
    """Whether the library has a class of this name, perhaps called fast."""
    return isinstance(name, str) and any(
        hasattr(library(), each) for each in (name, name.removesuffix("Fast"))
    )


def shortly(error: Exception) -> str:
    """What a library raised, on one line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said:.200}"
