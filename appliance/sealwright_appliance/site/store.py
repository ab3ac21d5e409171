"""Settings of the site on the state volume, and those that are tried, which no boot outlives.

/var/lib/sealwright/site.json       confirmed
/run/sealwright/site-trial.json     tried
"""

from __future__ import annotations

from dataclasses import dataclass

from sealwright_appliance.files import read_file, remove_durably, write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.site.settings import NOTHING_SET, SITE_LIMIT, SiteSettings
from sealwright_policies.wire.encoding import document_bytes, parse_json

READABLE = 0o644
"""Root, which applies them, has no capability to read what is its owner's alone."""


@dataclass(frozen=True, slots=True)
class SiteStore:
    """Both files."""

    paths: Paths

    def confirmed(self) -> SiteSettings:
        """What was confirmed last; nothing set, before the first time.

        Raises:
            FormatError, OperationError: it cannot be read.
        """
        content = read_file(self.paths.site, SITE_LIMIT)
        return NOTHING_SET if content is None else parse_json(SiteSettings, content, limit=SITE_LIMIT)

    def tried(self) -> SiteSettings | None:
        """What is tried.

        Raises:
            FormatError, OperationError: it cannot be read.
        """
        content = read_file(self.paths.site_trial, SITE_LIMIT)
        return None if content is None else parse_json(SiteSettings, content, limit=SITE_LIMIT)

    def try_out(self, settings: SiteSettings) -> None:
        """Have them tried."""
        write_durably(self.paths.site_trial, document_bytes(settings), mode=READABLE)

    def end_trial(self) -> None:
        """Have none tried."""
        remove_durably(self.paths.site_trial)

    def confirm(self, settings: SiteSettings) -> None:
        """Keep them. With a power cut behind it, they are what the next boot begins with."""
        write_durably(self.paths.site, document_bytes(settings), mode=READABLE)
        self.end_trial()
