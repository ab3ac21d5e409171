"""Playbooks and roles for build hosts, licence servers and boxes. None is here yet: see CHANGELOG.md."""
