"""Who the command line acts as: the user of this machine who runs it."""

from __future__ import annotations

import os
import pwd

from sealwright_licensing.actors import Actor, ActorKind


def cli_actor() -> Actor:
    """The user by name, or by number where the machine has no name for it."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    return Actor(ActorKind.CLI, name)
