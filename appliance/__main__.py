"""Entry point: nothing heavy is imported before the arguments are known."""

from __future__ import annotations

import sys

from appliance.cli import main

if __name__ == "__main__":
    sys.exit(main())
