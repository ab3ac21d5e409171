"""What is said of a run that failed: whether a setting of the inventory is wrong, or something else."""

from __future__ import annotations

import pytest

from sealwright_ansible.catalogue import Playbook
from sealwright_ansible.run import Failure, Wish, run_playbook

PLAYBOOK = """
- name: Fail in every way
  hosts: all
  gather_facts: false
  tasks:
    - name: A setting that is wrong
      ansible.builtin.assert:
        that: false
        fail_msg: "license_server_url: expected https://HOST."
      when: inventory_hostname == 'setting'
    - name: Settings that are wrong
      ansible.builtin.assert:
        that: false
        fail_msg: "{{ item }}: expected an age recipient."
      loop: [license_server_one, license_server_two]
      when: inventory_hostname == 'settings'
    - name: A setting that is missing
      ansible.builtin.validate_argument_spec:
        argument_spec:
          license_server_url:
            required: true
      when: inventory_hostname == 'missing'
    - name: A state that is wrong
      ansible.builtin.assert:
        that: false
        fail_msg: "The folder license_server_folder is full: remove something."
      when: inventory_hostname == 'state'
    - name: A condition that cannot be read
      ansible.builtin.assert:
        that: license_server_nowhere is match('x')
      when: inventory_hostname == 'condition'
    - name: A command that fails
      ansible.builtin.command: "sh -c 'echo license_server_url: the disk is full. >&2; exit 3'"
      changed_when: false
      when: inventory_hostname == 'command'
    - name: A message of another module
      ansible.builtin.fail:
        msg: "license_server_url: refused by the disk."
      when: inventory_hostname == 'module'
    - name: A setting and something else
      ansible.builtin.assert:
        that: false
        fail_msg: "{{ item }}"
      loop: ["license_server_one: wrong.", "The host is on fire."]
      when: inventory_hostname == 'both'
"""
HOSTS = {
    "setting": True,
    "settings": True,
    "missing": True,
    "state": False,
    "condition": False,
    "command": False,
    "module": False,
    "both": False,
}
"""Whether the inventory is to blame for what happens there."""


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Failure]:
    """One run by Ansible itself, on this machine under several names."""
    folder = tmp_path_factory.mktemp("run")
    playbook, inventory = folder / "playbook.yml", folder / "inventory.yml"
    playbook.write_text(PLAYBOOK)
    listed = "".join(f"    {host}: {{ansible_connection: local}}\n" for host in HOSTS)
    inventory.write_text(f"all:\n  hosts:\n{listed}")
    outcome = run_playbook(Wish(Playbook(playbook), inventory), lambda _: None)
    assert not outcome.is_complete
    return {one.host: one for one in outcome.failures}


@pytest.mark.parametrize(("host", "is_setting"), HOSTS.items())
def test_the_inventory_is_blamed_for_its_settings_alone(
    failures: dict[str, Failure], host: str, is_setting: bool
) -> None:
    assert failures[host].is_setting is is_setting, failures[host].message


def test_every_wrong_setting_is_named(failures: dict[str, Failure]) -> None:
    assert failures["settings"].message == (
        "license_server_one: expected an age recipient. license_server_two: expected an age recipient."
    )
