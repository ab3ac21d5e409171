"""The bill of materials: CycloneDX 1.6 JSON of everything in an image.

Debian packages come from mkosi's manifest; beside them stand our own packages, the engine and the payloads.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sealwright_image.config import Config
from sealwright_policies.errors import FormatError


@dataclass(frozen=True, slots=True)
class Component:
    """One thing in the image."""

    type: str
    """library, application, operating-system, machine-learning-model or data."""
    name: str
    version: str
    purl: str = ""
    sha256: str = ""
    license: str = ""


def debian_components(package_manifest: Path) -> list[Component]:
    """Packages from mkosi's manifest (manifest_version 1).

    Raises:
        FormatError: the file has another form.
    """
    try:
        document: dict[str, Any] = json.loads(package_manifest.read_bytes())
        distribution, release = document["config"]["distribution"], document["config"].get("release", "")
        packages = [
            (str(entry["name"]), str(entry["version"]), str(entry["architecture"])) for entry in document["packages"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{package_manifest}: not a package manifest of mkosi: {error!r}") from error
    return [
        Component(
            "library",
            name,
            version,
            purl=f"pkg:deb/{quote(distribution)}/{quote(name)}@{quote(version, safe='')}"
            f"?arch={quote(architecture)}&distro={quote(release)}",
        )
        for name, version, architecture in sorted(packages)
    ]


def write_sbom(config: Config, components: Iterable[Component], epoch: int, target: Path) -> None:
    """Write the bill of materials; the same inputs give the same bytes."""
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(config.seed, 'sbom')}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z"),
            "component": {
                "type": "firmware",
                "bom-ref": "image",
                "supplier": {"name": config.vendor},
                "name": config.product,
                "version": config.version,
            },
        },
        "components": [_entry(number, component) for number, component in enumerate(components)],
    }
    target.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")


def _entry(number: int, component: Component) -> Mapping[str, object]:
    entry: dict[str, object] = {
        "type": component.type,
        "bom-ref": component.purl or f"{component.type}/{number}/{component.name}",
        "name": component.name,
        "version": component.version,
    }
    if component.purl:
        entry["purl"] = component.purl
    if component.sha256:
        entry["hashes"] = [{"alg": "SHA-256", "content": component.sha256}]
    if component.license:
        entry["licenses"] = [{"license": {"name": "payload licence", "text": {"content": component.license}}}]
    return entry
