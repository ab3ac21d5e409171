"""Runs the job once in the training root, and prints which of that root's files it has used, as JSON.

``{"files": [PATH], "links": {PATH: TARGET}}``: modules that were opened and files that are mapped, links resolved; and
the other names in library folders under which the mapped ones are found.
"""

from __future__ import annotations

import json
import sys
from importlib.util import source_from_cache
from pathlib import Path

FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/python3/dist-packages/torch/lib")
OPENED = {file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}


def note(event: str, arguments: tuple[object, ...]) -> None:
    """Of what Python opens (sys.addaudithook); a module may have no ``__file__`` afterwards."""
    if event == "open" and isinstance(arguments[0], str):
        OPENED.add(arguments[0])


def source(path: str) -> str:
    """The module of a compiled file."""
    return source_from_cache(path) if path.endswith(".pyc") else path


def used() -> dict[str, object]:
    """Of this process, so far."""
    mapped = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
    modules = {source(one) for one in OPENED if one.endswith((".py", ".pyc", ".so"))}
    paths = [Path(one) for one in modules | mapped if one.startswith("/usr/")]
    files = {str(path.resolve()) for path in paths if path.is_file()}
    names = [path for folder in FOLDERS for path in Path(folder).iterdir() if path.is_symlink()]
    links = {str(path): str(path.resolve()) for path in names}
    return {"files": sorted(files), "links": {name: to for name, to in links.items() if to in files}}


if __name__ == "__main__":
    sys.addaudithook(note)
    from sealwright_testing.training_job import job

    job.main()
    print(json.dumps(used()))
