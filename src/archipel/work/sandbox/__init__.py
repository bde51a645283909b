"""What a child process gives up before it touches anything that came from outside.

`restrict` does it and says what holds; `landlock` fences the file system, `seccomp` system calls, `shared_memory` gives its own,
`calls` lists those by number, `runtime` what Python and the tensor library need to read, `kernel` is
the door to Linux.
"""

from archipel.work.sandbox.confinement import (
    Limits,
    Report,
    SandboxError,
    die_with_parent,
    restrict,
)

__all__ = ["Limits", "Report", "SandboxError", "die_with_parent", "restrict"]
