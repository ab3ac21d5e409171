"""Configuration of a service: ``config.toml`` in its folder, read once at the entry point and passed down."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sealwright_custody.secret_file import read_secret
from sealwright_licensing.operators.config import OperatorsConfig
from sealwright_licensing.tpm_floor import DeniedTpm
from sealwright_policies.errors import OperationError, UsageError
from sealwright_policies.wire.encoding import Identifier

CONFIG_FILE = "config.toml"
SERVICE_FILE = "license-service.json"
DEFAULT_DATABASE = "sqlite:service.db"

_Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Section):
    """What one address, and all together, may ask of the service."""

    requests_per_minute: _Count = 600
    """Of one address; a burst may be as large."""
    failed_codes_per_hour: _Count = 20
    """Wrong activation codes of one address, after which it waits."""
    decisions_per_device_per_day: _Count = 1440
    """About the renewals of one device: what the log and the journal grow by is bounded so."""
    connections: _Count = 256
    """Of all addresses together."""
    connections_per_address: _Count = 32
    headers_s: Annotated[float, Field(gt=0, le=600)] = 10
    """Seconds for TLS to be set up, and again for the headers of each request."""
    body_s: Annotated[float, Field(gt=0, le=600)] = 30
    """Seconds for a request's body, and for a client to read on when an answer has filled the buffers."""
    shutdown_s: Annotated[int, Field(ge=1, le=600)] = 20
    """Seconds that running requests get when the service stops."""


class Metrics(_Section):
    """Where each process shows its figures to Prometheus, over plain HTTP."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0: nowhere."""


class ServiceConfig(_Section):
    """The file's content."""

    service_id: Identifier
    url: Annotated[str, StringConstraints(pattern=r"^https://[^/\s]+$", max_length=255)]
    database: Annotated[str, StringConstraints(min_length=1)] = DEFAULT_DATABASE
    """sqlite:FILE, relative to the folder, or postgresql+psycopg://USER@HOST/DATABASE."""
    database_password_file: Annotated[str, StringConstraints(min_length=1)] | None = None
    """File with PostgreSQL's password, mode 0600; relative to the folder."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8444
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes behind the one address; several need PostgreSQL."""
    limits: Limits = Limits()
    metrics: Metrics = Metrics()
    operators: OperatorsConfig = OperatorsConfig()
    denied_tpm: tuple[DeniedTpm, ...] = ()
    """TPMs to refuse."""


@dataclass(frozen=True, slots=True)
class ServiceFolder:
    """Where a service keeps its things."""

    path: Path

    @property
    def config_file(self) -> Path:
        """Settings."""
        return self.path / CONFIG_FILE

    @property
    def service_file(self) -> Path:
        """What boxes and builds know of the service; public."""
        return self.path / SERVICE_FILE

    @property
    def keys(self) -> Path:
        """Private keys, one file each, mode 0600."""
        return self.path / "keys"

    @property
    def manifest_keys(self) -> Path:
        """Public keys of trusted builds."""
        return self.path / "manifest-keys"

    def database_url(self, config: ServiceConfig) -> str:
        """SQLAlchemy's URL of the database."""
        return self.absolute_url(config.database)

    def absolute_url(self, database: str) -> str:
        """SQLAlchemy's URL of a database as config.toml has it."""
        if database.startswith("sqlite:") and not database.startswith("sqlite://"):
            return f"sqlite:///{(self.path / database.removeprefix('sqlite:')).resolve()}"
        return database

    def database_password(self, config: ServiceConfig) -> str | None:
        """PostgreSQL's password, if it is in a file.

        Raises:
            OperationError: the file cannot be read, or others can read it.
        """
        name = config.database_password_file
        return None if name is None else read_password(self.path / name)


def read_password(path: Path) -> str:
    """A password in a file that nobody else can read; a line feed behind it does not count.

    Raises:
        OperationError: no such file, readable by others, or not one line of text.
    """
    try:
        password = read_secret(path).decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        password = ""
    if not password.isprintable() or not password:
        raise OperationError(f"{path} does not hold a password.", cure="Write it there, on one line, mode 0600.")
    return password


def load_config(folder: ServiceFolder) -> ServiceConfig:
    """Read ``config.toml``.

    Raises:
        OperationError: no such file or not readable.
        UsageError: not TOML, or a setting that does not exist or is out of its range.
    """
    path = folder.config_file
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise OperationError(
            f"{folder.path} is not the folder of a licence service.",
            cure=f"Make one with `sealwright-license init {folder.path} --url https://HOST:PORT`.",
        ) from error
    except OSError as error:
        raise OperationError(f"{path} cannot be read: {error.strerror}.", cure="Run as the service's user.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
    try:
        return ServiceConfig.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def config_text(
    service_id: str,
    url: str,
    host: str,
    port: int,
    *,
    database: str = DEFAULT_DATABASE,
    password_file: str | None = None,
) -> str:
    """The first ``config.toml``, with every setting at its default."""
    limits, operators = Limits(), OperatorsConfig()
    named = f"database_password_file = {json.dumps(password_file)}\n" if password_file else ""
    return f"""# Licence service. Changes take effect at the next start.
service_id = "{service_id}"
url = "{url}"                # boxes reach the service here; measured with their images
database = {json.dumps(database)}   # sqlite:FILE in this folder, or postgresql+psycopg://USER@HOST/DATABASE
{named}host = "{host}"
port = {port}
workers = 1                      # processes; several need PostgreSQL, and each counts limits for itself

[limits]
requests_per_minute = {limits.requests_per_minute}      # of one address
failed_codes_per_hour = {limits.failed_codes_per_hour}     # wrong activation codes of one address
decisions_per_device_per_day = {limits.decisions_per_device_per_day}
connections = {limits.connections}
connections_per_address = {limits.connections_per_address}
headers_s = {limits.headers_s:g}
body_s = {limits.body_s:g}
shutdown_s = {limits.shutdown_s}

[metrics]                        # of the boxes' process, over plain HTTP; operators' have /metrics with a token
host = "127.0.0.1"
port = 0                         # 0: nowhere

[operators]                      # API and console: `sealwright-license serve-operators`
host = "{operators.host}"
port = {operators.port}
requests_per_minute = {operators.requests_per_minute}      # of one token, and of one address
failed_logins_per_hour = {operators.failed_logins_per_hour}      # of one address
session_idle_s = {operators.session_idle_s}
session_absolute_s = {operators.session_absolute_s}

# TPMs to refuse; again for each kind.
# [[denied_tpm]]
# manufacturer = "id:12345678"     # as in EK certificates
# model = "MODEL"                  # without it: all models
# firmware_below = 0x0001000200000000   # without it: all firmware
# reason = "what is wrong with it"
"""
