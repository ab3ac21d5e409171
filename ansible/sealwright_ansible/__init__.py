"""Playbooks and roles for licence servers, and the command that runs them through ansible-runner."""
