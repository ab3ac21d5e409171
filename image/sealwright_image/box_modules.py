"""Which modules of our packages the box can import: those that its units' programs reach; no others go into the root.

Read from the sources, without running them: every import statement counts, wherever it stands. What is imported by a
name that is made at run time would be missed; nothing in these packages does that.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sealwright_policies.errors import OperationError

_PROGRAM = re.compile(r"^Exec\w+=.*\bpython3\S* .*-m (\S+)", re.MULTILINE)
_MAIN, _PACKAGE = "__main__", "__init__"


def programs(definitions: Path) -> list[str]:
    """Modules that units start with ``python3 -m``, in a folder with units anywhere below it."""
    texts = [path.read_text("utf-8") for path in sorted(definitions.rglob("*.service"))]
    return sorted({name for text in texts for name in _PROGRAM.findall(text)})


def box_modules(packages: Sequence[Path], started: Iterable[str]) -> frozenset[Path]:
    """Files of all modules that these programs can import, and of the packages around them.

    Args:
        packages: folders of our packages.
        started: modules or packages, as ``python3 -m`` takes them.

    Raises:
        OperationError: a program is in none of the packages, or a module imports relatively.
    """
    files = dict(_named(packages))
    reached: set[str] = set()
    wanted = [_program(name, files) for name in started]
    while wanted:
        name = wanted.pop()
        if name not in reached:
            reached.add(name)
            wanted += [other for other in _imported(name, files[name]) if other in files]
    return frozenset(files[name] for name in reached)


def _named(packages: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Every module by its name; a package by the name of its folder."""
    for package in packages:
        for path in package.rglob("*.py"):
            parts = (package.name, *path.relative_to(package).with_suffix("").parts)
            yield ".".join(parts[:-1] if parts[-1] == _PACKAGE else parts), path


def _program(name: str, files: Mapping[str, Path]) -> str:
    found = [one for one in (f"{name}.{_MAIN}", name) if one in files]
    if not found:
        raise OperationError(f"A unit of the box starts {name}, which is in none of our packages.")
    return found[0]


def _imported(name: str, file: Path) -> Iterator[str]:
    """Names that a module imports, with the packages around them, whether they are modules or not."""
    yield from _around(name)
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield from _around(one.name)
        elif isinstance(node, ast.ImportFrom):
            if node.level or not node.module:
                raise OperationError(f"{file}, line {node.lineno}: a relative import, which is not followed.")
            for one in node.names:
                yield from _around(f"{node.module}.{one.name}")


def _around(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))
