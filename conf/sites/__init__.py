"""Hooks as BroAPT has them: lists of functions, each called with the name of a folder of logs.

This one is for conf/broapt-sites.toml; a package of your own goes in its place, as it is.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from hosts import close, count

HOOK = [count]
EXIT = [close]
