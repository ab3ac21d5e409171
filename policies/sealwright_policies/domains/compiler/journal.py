"""From domains to the days for which the box's journal keeps a line (policies/spec/domain.md, 7)."""

from __future__ import annotations

from typing import Final

from sealwright_policies.domains.chain import Domains

JOURNAL_FILE: Final = "/usr/lib/systemd/journald.conf.d/20-domains.conf"


def journal(domains: Domains) -> str:
    """Text of the drop-in. Lines of all domains stand in one journal, so the shortest of their days holds for it.

    To journald.conf(5) a retention of 0 is no limit, so for 0 nothing is stored. A file of the journal takes lines for
    a day, and goes as a whole once its first line is too old.
    """
    days = min((source.domain.retention.logs_days for source in domains), default=0)
    lines = [f"MaxRetentionSec={days}day", "MaxFileSec=1day"] if days else ["Storage=none"]
    return "\n".join(["# Compiled from retention.logs_days of the security domains.", "[Journal]", *lines]) + "\n"
