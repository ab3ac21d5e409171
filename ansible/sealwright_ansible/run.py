"""One run of a playbook through ansible-runner: what it is given, its progress, what came out of it on each host."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner

from sealwright_ansible.catalogue import ROLES, Playbook
from sealwright_policies.errors import UsageError

Say = Callable[[str], None]
_ASSERTS = ("ansible.builtin.assert", "assert")
_OF_SETTING = re.compile(r"license_server_\w+: ")
"""How an assertion of the role begins that a setting is wrong; it is about this one."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be run.

    Attributes:
        playbook: The playbook.
        inventory: Ansible's inventory, a file or a folder.
        check: Whether only to look at what would change.
        limit: Hosts or groups to keep to, as Ansible takes them.
        settings: Variables that win over the inventory's.
    """

    playbook: Playbook
    inventory: Path
    check: bool = False
    limit: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that failed on a host."""

    host: str
    task: str
    message: str
    is_setting: bool = False
    """Whether the inventory is to blame."""


@dataclass
class Outcome:
    """What came out."""

    hosts: set[str] = field(default_factory=set)
    changed: Counter[str] = field(default_factory=Counter)
    """Tasks that changed something, by host."""
    failures: list[Failure] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    """What Ansible said outside any task."""
    is_complete: bool = False


def run_playbook(wish: Wish, say: Say, *, verbose: bool = False) -> Outcome:
    """Run it to its end.

    Args:
        wish: what to run.
        say: is told each task, and what it changes.
        verbose: whether Ansible's own output is printed too.

    Raises:
        UsageError: there is no such inventory.
    """
    if not wish.inventory.exists():
        raise UsageError(f"There is no inventory {wish.inventory}; docs/licence-server.md shows one.")
    watcher = _Watcher(say)
    with tempfile.TemporaryDirectory(prefix="sealwright-fleet-") as scratch:
        settings = Path(scratch) / "env" / "extravars"
        settings.parent.mkdir()
        settings.write_text(json.dumps(dict(wish.settings)))  # a file: an argument would show in the list of processes
        runner = ansible_runner.run(
            private_data_dir=scratch,
            playbook=str(wish.playbook.path),
            inventory=str(wish.inventory.resolve()),
            roles_path=str(ROLES),
            limit=wish.limit,
            cmdline="--check --diff" if wish.check else None,
            envvars={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "ANSIBLE_PIPELINING": "1",
                "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
            },
            event_handler=watcher.see,
            quiet=not verbose,
        )
        watcher.outcome.is_complete = runner.rc == 0
    return watcher.outcome


class _Watcher:
    """Takes out of ansible-runner's events what a person has to know."""

    def __init__(self, say: Say) -> None:
        self.outcome = Outcome()
        self._say = say

    def see(self, event: dict[str, Any]) -> bool:
        """Take note of an event; it need not be kept."""
        data, kind = event.get("event_data", {}), event["event"]
        host, task = data.get("host", ""), data.get("task", "")
        match kind:
            case "playbook_on_task_start" | "playbook_on_handler_task_start":
                self._say(task)
            case "runner_on_ok" | "runner_item_on_ok":
                self.outcome.hosts.add(host)
                if data.get("res", {}).get("changed") and (
                    kind == "runner_item_on_ok" or not data["res"].get("results")
                ):
                    self.outcome.changed[host] += 1
                    self._say(f"  {host}: changed")
            case "runner_on_failed" if not data.get("ignore_errors"):
                self._fail(host, task, data.get("task_action", ""), data["res"])
            case "runner_on_unreachable":
                self._fail(host, task, "", data["res"])
            case "verbose" | "warning" | "error":
                self.outcome.words.append(event.get("stdout", "").strip())
        return False

    def _fail(self, host: str, task: str, action: str, result: dict[str, Any]) -> None:
        wrong = result.get("argument_errors") or [
            item["msg"] for item in result.get("results", []) if item.get("failed") and "msg" in item
        ]
        message = " ".join(wrong) or result.get("msg") or "failed"
        is_setting = bool(result.get("argument_errors")) or (
            action in _ASSERTS and all(_OF_SETTING.match(one) for one in wrong or [message])
        )
        details = (result.get("stderr") or result.get("module_stderr") or "").strip().splitlines()[-3:]
        self.outcome.hosts.add(host)
        self.outcome.failures.append(Failure(host, task, " ".join([message.strip(), *details]), is_setting))
