"""``status``: what a box says of itself, in words."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

from sealwright_client.box import connected
from sealwright_client.cli_output import Commands, add_command, distance, moment, print_result
from sealwright_client.pinning import fingerprint_of, parse_box_url, parse_fingerprint, shown_certificate

EXAMPLE = "  sealwright-box status https://box.example:8443 --fingerprint sha256:5f1c…"


def add_status(commands: Commands) -> None:
    """Add it to the command line."""
    add_command(
        commands, "status", _status, help_="what the box does, and why not more", example=EXAMPLE,
        more="Without --fingerprint the box is not identified.", fingerprint_needed=False,
    )  # fmt: skip


def _status(arguments: argparse.Namespace) -> None:
    if arguments.fingerprint is None:
        fingerprint = fingerprint_of(shown_certificate(*parse_box_url(arguments.url)))
        print(f"Not compared with the console: {fingerprint}", file=sys.stderr)
    else:
        fingerprint = parse_fingerprint(arguments.fingerprint)
    with connected(arguments.url, fingerprint) as box:
        status = box.status()
    print_result(arguments, status, status_lines(status, int(time.time())))


def status_lines(status: Mapping[str, Any], now: int) -> list[str]:
    """A status document in words."""
    code = f" ({status['code']})" if status.get("code") else ""
    lines = [f"state     {status.get('state')}{code}: {status.get('sentence', '')}"]
    release = status.get("release")
    if isinstance(release, dict):
        lines.append(f"release   {release.get('product')} {release.get('version')} {release.get('release_id')}")
    lines.append(f"device    {status.get('device_id')}")
    lease = status.get("lease")
    if isinstance(lease, dict):
        end = lease.get("expires_at")
        lines.append(f"lease     number {lease.get('number')}, until {moment(end)} ({distance(end, now)})")
        lines.extend(f"warning   {warning.get('message')}" for warning in lease.get("warnings", []))
    budget = status.get("budget")
    if isinstance(budget, dict) and budget.get("level_days"):
        lines.append(f"warning   {budget.get('warning')}: {budget.get('sentence')}")
    if status.get("extraction_alarms"):
        lines.append(f"warning   {status['extraction_alarms']} API keys look like copying: sealwright-box outflow show")
    lines.append(f"renewal   {status.get('renewal')}")
    if status.get("secrets_waiting"):
        lines.append("secrets   wait to be fetched: sealwright-box activate with the claim code on the console")
    for payload in status.get("payloads", []):
        reason = f" ({payload['code']}: {payload.get('sentence', '')})" if payload.get("code") else ""
        lines.append(f"payload   {payload.get('payload_id')} [{payload.get('domain')}] {payload.get('state')}{reason}")
    for workload in status.get("workloads", []):
        sentence = f" ({workload['sentence']})" if workload.get("sentence") else ""
        more = sentence + "".join(f", {name} {value}" for name, value in workload.get("metrics", {}).items())
        lines.append(f"workload  {workload.get('payload_id')} [{workload.get('domain')}] {workload.get('run')}{more}")
    lines += closed_lines(status)
    return lines


def closed_lines(view: Mapping[str, Any]) -> list[str]:
    """What a box keeps closed, since its domain says something else than when it came."""
    return [
        f"closed    {one.get('domain')}, {one.get('what')}: {one.get('code')}: {one.get('sentence')}"
        for one in view.get("kept_closed", [])
    ]
