"""What types cannot tell of ``[api]``: on TCP nobody is known by the kernel, and others listen."""

from __future__ import annotations

from appliance.config import addresses
from appliance.config.report import Report
from appliance.config.shape import EACH, select
from appliance.config.tables import Config
from appliance.units import Size

__all__ = ["check_api"]

_SLOWEST = Size(1 << 20)  # what is read at once is up to 4 MiB: below this an extraction looks dead


def check_api(config: Config, report: Report) -> None:
    """Report TCP addresses without tokens or, where others can listen, without TLS."""
    given = {name: value for name in ("token_file", "certificate", "key") for _, value in select(config, "api", name)}
    for name, other in (("certificate", "key"), ("key", "certificate")):
        if given.get(name) and given.get(other) == "":
            report.add(("api", name), f"needs {other}, too")
    for key, rate in select(config, "api", "extract_rate"):
        if rate is not None and rate < _SLOWEST:
            report.add(key, f"must be at least {_SLOWEST} a second, got {rate}")
    for key, text in select(config, "api", "listen", EACH):
        if text.startswith("unix:"):
            continue
        try:
            _, endpoint = addresses.parse_listen(text, "/")
        except ValueError:
            continue  # told elsewhere
        if given.get("token_file") == "":
            report.add(key, "a TCP address needs token_file", hint="make a token with: broappliance token new NAME")
        if given.get("certificate") == "" and not addresses.is_loopback(endpoint.host):
            report.add(key, "an address that others can reach needs certificate and key")
