"""One JSON line for each file, joined with its connections."""

# mypy: ignore-errors
import ipaddress
import json
import os

from const import LOGS_PATH
from logparser import parse
from utils import IPAddressJSONEncoder, is_nan, print_file

LOGS = os.path.join(LOGS_PATH, "info")
os.makedirs(LOGS, exist_ok=True)


def generate_log(log_name):
    log_root = os.path.join(LOGS_PATH, log_name)
    log_file = os.path.join(log_root, "files.log")
    if not os.path.isfile(log_file):
        return
    files = parse(log_file)
    conns = parse(os.path.join(log_root, "conn.log"))
    for line in files.context.itertuples():
        if is_nan(getattr(line, "fuid", None)):
            continue
        joined = []
        for uid in line.conn_uids:
            record = next(conns.context[lambda df: df.uid == uid].iterrows())[1]
            joined.append({"src_h": ipaddress.ip_address(str(record["id.orig_h"])), "src_p": int(record["id.orig_p"])})
        info = {"timestamp": line.ts.timestamp(), "log_name": log_name, "fuid": line.fuid, "conns": joined}
        print_file(json.dumps(info, cls=IPAddressJSONEncoder), file=os.path.join(LOGS, "files.log"))
