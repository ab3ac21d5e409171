"""Configuration of a service: ``config.toml`` in its folder, read once at the entry point and passed down."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sealwright_licensing.operators.config import OperatorsConfig
from sealwright_licensing.tpm_floor import DeniedTpm
from sealwright_policies.errors import OperationError, UsageError
from sealwright_policies.wire.encoding import Identifier

CONFIG_FILE = "config.toml"
SERVICE_FILE = "license-service.json"

_Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Section):
    """What one address, and all together, may ask of the service."""

    requests_per_minute: _Count = 600
    """Of one address; a burst may be as large."""
    failed_codes_per_hour: _Count = 20
    """Wrong activation codes of one address, after which it waits."""
    connections: _Count = 256
    """Of all addresses together."""
    connections_per_address: _Count = 32
    headers_s: Annotated[float, Field(gt=0, le=600)] = 10
    """Seconds for TLS to be set up, and again for the headers of each request."""
    body_s: Annotated[float, Field(gt=0, le=600)] = 30
    """Seconds for a request's body, and for a client to read on when an answer has filled the buffers."""
    shutdown_s: Annotated[int, Field(ge=1, le=600)] = 20
    """Seconds that running requests get when the service stops."""


class ServiceConfig(_Section):
    """The file's content."""

    service_id: Identifier
    url: Annotated[str, StringConstraints(pattern=r"^https://[^/\s]+$", max_length=255)]
    database: Annotated[str, StringConstraints(min_length=1)] = "sqlite:service.db"
    """SQLAlchemy URL, or sqlite:FILE relative to the folder."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8444
    limits: Limits = Limits()
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
        if config.database.startswith("sqlite:") and not config.database.startswith("sqlite://"):
            return f"sqlite:///{(self.path / config.database.removeprefix('sqlite:')).resolve()}"
        return config.database


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


def config_text(service_id: str, url: str, host: str, port: int) -> str:
    """The first ``config.toml``, with every setting at its default."""
    limits, operators = Limits(), OperatorsConfig()
    return f"""# Licence service. Changes take effect at the next start.
service_id = "{service_id}"
url = "{url}"                # boxes reach the service here; measured with their images
database = "sqlite:service.db"   # in this folder
host = "{host}"
port = {port}

[limits]
requests_per_minute = {limits.requests_per_minute}      # of one address
failed_codes_per_hour = {limits.failed_codes_per_hour}     # wrong activation codes of one address
connections = {limits.connections}
connections_per_address = {limits.connections_per_address}
headers_s = {limits.headers_s:g}
body_s = {limits.body_s:g}
shutdown_s = {limits.shutdown_s}

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
