"""``init`` and ``serve``."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

from sealwright_custody.locator import TokenLocator
from sealwright_licensing.cli_output import Commands, add_leaf, locator, print_result
from sealwright_licensing.config import DEFAULT_DATABASE, ServiceFolder, load_config
from sealwright_licensing.initialisation import create_service
from sealwright_policies.errors import UsageError


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    init = add_leaf(
        commands, "init", _init,
        help_="make a new service: keys, certificates, database, and license-service.json for builds",
        example="sealwright-license init /srv/license --url https://license.example:8444",
    )  # fmt: skip
    init.add_argument("--url", required=True, help="where boxes reach the service: https://HOST or https://HOST:PORT")
    init.add_argument("--name", metavar="ID", help="id of the service (default: made from the URL's host)")
    init.add_argument(
        "--pkcs11", metavar="URI", type=locator,
        help="make keys inside this token where it can: pkcs11:token=…?module-path=…&pin-source=file:…",
    )  # fmt: skip
    init.add_argument(
        "--database", metavar="URL", default=DEFAULT_DATABASE,
        help="sqlite:FILE in the folder (the default), or postgresql+psycopg://USER@HOST/DATABASE, which is empty",
    )  # fmt: skip
    init.add_argument(
        "--database-password-file", metavar="FILE", type=Path, help="file with PostgreSQL's password, mode 0600"
    )
    serve = add_leaf(
        commands, "serve", _serve, help_="run the service until it is told to stop (SIGTERM)",
        example="sealwright-license serve /srv/license --host 0.0.0.0 --port 8444",
    )  # fmt: skip
    serve.add_argument("--host", help="address to listen on (default: from config.toml)")
    serve.add_argument("--port", type=_port, help="port to listen on, 0 for any free one (default: from config.toml)")
    serve.add_argument(
        "--workers",
        type=_workers,
        metavar="N",
        help="processes; several need PostgreSQL (default: from config.toml)",
    )
    operate = add_leaf(
        commands, "serve-operators", _serve_operators,
        help_="run the operators' API and console, in a process that holds none of the keys that open models",
        example="sealwright-license serve-operators /srv/license",
    )  # fmt: skip
    operate.add_argument("--host", help="address to listen on (default: from config.toml)")
    operate.add_argument("--port", type=_port, help="port to listen on, 0 for any free one (default: from config.toml)")


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError("expected a number from 1 to 64")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("expected a number from 0 to 65535")
    return int(text)


def _init(arguments: argparse.Namespace) -> None:
    service_id = arguments.name or _id_of_host(urlsplit(arguments.url).hostname or "")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", service_id):
        raise UsageError(f"--name {service_id}: expected lower-case letters, digits, '.', '_' and '-'.")
    token = arguments.pkcs11
    if token is not None and (not isinstance(token, TokenLocator) or token.label or token.key_id):
        raise UsageError("--pkcs11 names a token and no key in it: pkcs11:token=…?module-path=…&pin-source=file:…")
    folder = create_service(
        arguments.directory,
        url=arguments.url,
        service_id=service_id,
        token=token,
        now=int(time.time()),
        database=arguments.database,
        password_file=arguments.database_password_file,
    )
    result = {"directory": str(folder.path), "service_id": service_id, "license_service": str(folder.service_file)}
    words = [
        f"Licence service {service_id} made in {folder.path}.",
        f"Back up {folder.keys}, and the token's keys if there is one: without them no lease can be renewed.",
        f"For builds (license_service in product.toml): {folder.service_file}",
        f"Start it: sealwright-license serve {folder.path}",
    ]
    print_result(result, words, as_json=arguments.json)


def _id_of_host(host: str) -> str:
    return re.sub(r"[^a-z0-9._-]", "-", f"license-{host.lower()}")[:64]


def _serve(arguments: argparse.Namespace) -> None:
    from sealwright_licensing.server import serve  # noqa: PLC0415 - the web stack takes a second to import

    folder = ServiceFolder(arguments.directory)
    config = load_config(folder)
    port = config.port if arguments.port is None else arguments.port
    serve(folder, config, host=arguments.host or config.host, port=port, workers=arguments.workers or config.workers)


def _serve_operators(arguments: argparse.Namespace) -> None:
    from sealwright_licensing.operators.server import serve_operators  # noqa: PLC0415 - as above

    folder = ServiceFolder(arguments.directory)
    config = load_config(folder)
    port = config.operators.port if arguments.port is None else arguments.port
    serve_operators(folder, config, host=arguments.host or config.operators.host, port=port)
