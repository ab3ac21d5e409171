"""C programs, compiled by the tools root's gcc: the same bytes on every build host."""

from __future__ import annotations

from pathlib import Path

from sealwright_image.run import Tools

WARNINGS = ("-std=c17", "-Wall", "-Wextra", "-Werror")
FREESTANDING = (
    *("-Os", "-ffreestanding", "-nostdlib", "-nostartfiles", "-static", "-no-pie", "-fno-pie"),
    *("-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-z,norelro", "-Wl,--strip-all"),
)
"""No C library, no loader, nothing writable, nothing that tells where or when it was made."""


def freestanding_argv(source: Path, output: Path, *definitions: str) -> list[str]:
    """The call for a program that needs nothing but the kernel. ``definitions`` as in NAME=VALUE."""
    return [
        *("gcc", *WARNINGS, *FREESTANDING),
        *(f"-D{definition}" for definition in definitions),
        *("-o", str(output), str(source)),
    ]


def compile_freestanding(source: Path, output: Path, tools: Tools, *definitions: str) -> None:
    """Compile a program that needs nothing but the kernel."""
    tools.run(freestanding_argv(source, output, *definitions), binds=[source.parent, output.parent])


def compile_static(source: Path, output: Path, tools: Tools) -> None:
    """Compile a program with the C library inside it. It is for the build itself, not for the image."""
    argv = ["gcc", *WARNINGS, "-O1", "-static", "-o", str(output), str(source)]
    tools.run(argv, binds=[source.parent, output.parent])
