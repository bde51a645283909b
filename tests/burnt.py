"""A lab's home that is removed while a child of a killed lab may still be closing its files there."""

import shutil
import time
from pathlib import Path

LIMIT_S = 30.0


def burn(home: Path) -> None:
    """Remove all of it, whoever still closes a file there. Raises OSError: it is there after half a minute."""
    until = time.monotonic() + LIMIT_S
    while home.exists():
        try:
            shutil.rmtree(home)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
