"""Commands of the box, one per unit: ``unlock``, ``agent``, ``gateway``.

None of them writes an exception's text to the journal: documents and examples are in memory here.

Each imports what it needs and no more: the boot waits for ``unlock``, and in emulation a web framework costs seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from sealwright_appliance.log_lines import write_allowed_lines_only, write_end
from sealwright_appliance.paths import Paths
from sealwright_policies.errors import SealwrightError


def main(arguments: Sequence[str] | None = None, paths: Paths | None = None) -> int:
    """Run one command; the exit code is that of :mod:`sealwright_policies.errors`."""
    parser = argparse.ArgumentParser(prog="sealwright-agent", description="The sealed box. Started by its units.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("unlock", help="open the sealed partitions, once in a boot")
    commands.add_parser("site", help="tell systemd and the packet filter of the site")
    commands.add_parser("agent", help="attest, keep leases")
    commands.add_parser("volumes", help="start engines, close volumes")
    commands.add_parser("gateway", help="serve HTTPS")
    commands.add_parser("documents", help="keep the customer's documents")
    commands.add_parser("parser", help="read one document")
    commands.add_parser("adapters", help="keep the customer's adapters, and have them trained")
    chosen = parser.parse_args(arguments)
    write_allowed_lines_only()
    try:
        return _COMMANDS[chosen.command](paths or Paths())
    except SealwrightError as error:
        write_end(type(error), error.__traceback__)
        return error.exit_code


def _unlock(paths: Paths) -> int:
    from sealwright_appliance.console import Console  # noqa: PLC0415
    from sealwright_appliance.unlock import unlock  # noqa: PLC0415

    unlock(paths, Console(paths.consoles))
    return 0


def _site(paths: Paths) -> int:
    from sealwright_appliance.site.apply import apply_site  # noqa: PLC0415

    apply_site(paths)
    return 0


def _agent(paths: Paths) -> int:
    from sealwright_appliance.agent import run_agent  # noqa: PLC0415

    run_agent(paths)
    return 0


def _volumes(paths: Paths) -> int:
    from sealwright_appliance.volume_service import run_volume_service  # noqa: PLC0415

    run_volume_service(paths)
    return 0


def _gateway(paths: Paths) -> int:
    from sealwright_appliance.gateway import run_box_gateway  # noqa: PLC0415

    run_box_gateway(paths)
    return 0


def _documents(paths: Paths) -> int:
    from sealwright_appliance.documents.service import run_document_service  # noqa: PLC0415

    run_document_service(paths)
    return 0


def _parser(_: Paths) -> int:
    from sealwright_appliance.documents.parser import run_parser  # noqa: PLC0415

    run_parser()
    return 0


def _adapters(paths: Paths) -> int:
    from sealwright_appliance.adapters.service import run_adapter_service  # noqa: PLC0415

    run_adapter_service(paths)
    return 0


_COMMANDS = {
    "unlock": _unlock,
    "site": _site,
    "agent": _agent,
    "volumes": _volumes,
    "gateway": _gateway,
    "documents": _documents,
    "parser": _parser,
    "adapters": _adapters,
}
