"""HTTP requests into one file for all captures, ended at exit."""

# mypy: ignore-errors
import base64
import math
import os

from const import LOGS_PATH
from logparser import parse
from utils import is_nan, print_file

HTTP_LOG = os.path.join(LOGS_PATH, "http.log")
CALLS = 0


def encode(value):
    return "NoDef" if is_nan(value) else base64.b64encode(value.encode()).decode()


def generate(log_name):
    global CALLS
    CALLS += 1
    http_log = os.path.join(LOGS_PATH, log_name, "http.log")
    if not os.path.isfile(http_log):
        return
    log = parse(http_log)
    for _, line in log.context.iterrows():
        ts = math.floor((line["ts"] if log.format == "json" else line["ts"].timestamp()) * 1000)
        fields = (
            str(line["id.orig_h"]),
            str(ts),
            line.get("host") or "",
            encode(line.get("user_agent")),
            str(int(line["id.orig_p"])),
        )
        print_file("\t".join(fields), file=HTTP_LOG)


def close():
    print_file(f"#close after {CALLS}", file=HTTP_LOG)
