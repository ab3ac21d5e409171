"""``python3 -m sealwright_appliance COMMAND``."""

import sys

from sealwright_appliance.cli import main

sys.exit(main())
