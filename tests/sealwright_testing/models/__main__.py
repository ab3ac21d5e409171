"""Make the bundled models: train with torch in the training root, convert to GGUF, check against llama.cpp, keep."""

from __future__ import annotations

import argparse
import sys

from sealwright_policies.errors import SealwrightError
from sealwright_testing.models.build import make_models, say


def main() -> int:
    """Print the folder of the models; exit code 0 only if they are made and good."""
    parser = argparse.ArgumentParser(prog="python -m sealwright_testing.models", description=__doc__)
    parser.add_argument("--again", action="store_true", help="make them anew, even if they are in the cache")
    arguments = parser.parse_args()
    try:
        print(make_models(again=arguments.again))
    except SealwrightError as error:
        say(f"models: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("models: interrupted; nothing was kept")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
