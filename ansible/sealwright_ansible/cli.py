"""``sealwright-fleet``: runs the playbooks of this package against the hosts of an inventory."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sealwright_ansible.catalogue import find_playbook, playbooks
from sealwright_ansible.run import Outcome, Wish, run_playbook
from sealwright_policies.cli_version import add_version
from sealwright_policies.errors import OperationError, SealwrightError, UsageError

_EXAMPLES = """examples:
  sealwright-fleet list
  sealwright-fleet run deploy-license-server -i inventory.yml --check
  sealwright-fleet run deploy-license-server -i inventory.yml
  sealwright-fleet run restart-license-server -i inventory.yml --limit license-1

exit codes: 0 done, 1 failed on a host, 2 usage or a wrong setting in the inventory"""


def build_parser() -> argparse.ArgumentParser:
    """The command line; each leaf sets ``run``, a function of the parsed arguments."""
    parser = argparse.ArgumentParser(
        prog="sealwright-fleet",
        description="Runs Sealwright's playbooks: licence servers from installation to restore.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser, "sealwright-ansible")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listed = commands.add_parser("list", help="show the playbooks", description="Show the playbooks.")
    listed.add_argument("--json", action="store_true", help="print JSON")
    listed.set_defaults(run=_list)
    run = commands.add_parser(
        "run",
        help="run a playbook on the hosts of an inventory",
        description="Run a playbook on the hosts of an inventory. Again is no harm: what is as it should be stays.",
        epilog="example:\n  sealwright-fleet run deploy-license-server -i inventory.yml --check",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("playbook", metavar="PLAYBOOK", help="its name, as `sealwright-fleet list` shows it")
    run.add_argument("-i", "--inventory", metavar="FILE", type=Path, required=True, help="Ansible inventory")
    run.add_argument("--check", action="store_true", help="change nothing; say what would be changed")
    run.add_argument("--limit", metavar="HOSTS", help="only these hosts or groups of the inventory")
    run.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], type=_setting, dest="settings",
        help="a variable that wins over the inventory's; no secrets, which others could see here",
    )  # fmt: skip
    run.add_argument("--verbose", action="store_true", help="print Ansible's own output too")
    run.add_argument("--json", action="store_true", help="print the outcome as JSON; progress goes to standard error")
    run.set_defaults(run=_run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parsed = build_parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except SealwrightError as error:
        if parsed.json:
            print(json.dumps({"error": {"code": type(error).__name__, "message": str(error)}}), file=sys.stderr)
        else:
            print(f"sealwright-fleet: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _setting(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise argparse.ArgumentTypeError("expected NAME=VALUE")
    return name, value


def _list(arguments: argparse.Namespace) -> None:
    known = playbooks()
    if arguments.json:
        print(json.dumps({one.name: one.summary for one in known}, indent=2))
        return
    width = max(len(one.name) for one in known)
    for one in known:
        print(f"{one.name:{width}}  {one.summary}")


def _run(arguments: argparse.Namespace) -> None:
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:5.0f} s  {line}", file=sys.stderr, flush=True)

    wish = Wish(
        find_playbook(arguments.playbook),
        arguments.inventory,
        arguments.check,
        arguments.limit,
        dict(arguments.settings),
    )
    outcome = run_playbook(wish, say, verbose=arguments.verbose)
    _demand_success(outcome)
    if arguments.json:
        print(
            json.dumps(
                {"hosts": {host: {"changed": outcome.changed[host]} for host in sorted(outcome.hosts)}}, indent=2
            )
        )
        return
    would = "would be changed" if arguments.check else "changed"
    for host in sorted(outcome.hosts):
        print(f"{host}: {outcome.changed[host] or 'nothing'} {would}")


def _demand_success(outcome: Outcome) -> None:
    """Raise what went wrong, all hosts in one error."""
    if outcome.failures:
        told = "\n  ".join(f"{one.host}: {one.task}: {one.message}" for one in outcome.failures)
        if all(one.is_setting for one in outcome.failures):
            raise UsageError(f"The inventory has wrong settings.\n  {told}")
        raise OperationError(f"Not done.\n  {told}\n", cure="Mend that and run the same command again.")
    if not outcome.is_complete:
        raise UsageError(
            "Ansible did not run: " + (" ".join(outcome.words[-4:]) or "no reason given") + "\n"
            "Check the inventory: `ansible-inventory --list -i FILE`."
        )
    if not outcome.hosts:
        raise UsageError("No host of the inventory is meant: the playbooks run on the group license_servers.")


if __name__ == "__main__":
    sys.exit(main())
