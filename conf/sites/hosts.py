"""Which servers were asked for over HTTP, and how often: a line for each capture, and one for all at the end."""

import json
import os
from collections import Counter

from const import LOGS_PATH
from logparser import parse
from utils import is_nan, print_file

OUT = os.path.join(LOGS_PATH, "hosts.jsonl")
ALL = Counter()


def count(log_name):
    """Count the requests of one capture."""
    http_log = os.path.join(LOGS_PATH, log_name, "http.log")
    if not os.path.isfile(http_log):
        return
    found = Counter(line["host"] for _, line in parse(http_log).context.iterrows() if not is_nan(line.get("host")))
    ALL.update(found)
    print_file(json.dumps({"capture": log_name, "hosts": dict(found)}), file=OUT)


def close():
    """Write what all captures had together."""
    print_file(json.dumps({"capture": None, "hosts": dict(ALL)}), file=OUT)
