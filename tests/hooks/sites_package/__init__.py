"""Three hooks as sites have them for BroAPT: imports from the main program, lists of functions, nothing else."""

# mypy: ignore-errors
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from http_digest import generate as http_log, close as http_log_exit
from extracted import generate_log as info_log

from const import LOGS_PATH
from utils import print_file


def names(log_name):
    """Keep a list of what came."""
    print_file(log_name, file=os.path.join(LOGS_PATH, "names.log"))


HOOK = [http_log, info_log, names]
EXIT = [http_log_exit]
