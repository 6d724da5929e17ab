"""The keys of sockets that connect."""

from __future__ import annotations

import zmq

from appliance.config import NodePlan
from appliance.errors import ConfigError

from .admission import read_key
from .carrier import CurveKeys

__all__ = ["client_keys"]


def client_keys(plan: NodePlan) -> CurveKeys | None:
    """The keys that a node connects with; None: it does not encrypt.

    Raises:
        ConfigError: a key that cannot be read, or a pair that is none.
    """
    if not plan.server_public_key_file:
        return None
    secret = read_key(plan.secret_key_file)
    public = zmq.curve_public(secret)
    if plan.public_key_file and read_key(plan.public_key_file) != public:
        raise ConfigError(f"the keys in {plan.public_key_file} and {plan.secret_key_file} are not a pair")
    return CurveKeys(server=read_key(plan.server_public_key_file), public=public, secret=secret)
