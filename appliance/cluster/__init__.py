"""Being a node of a cluster, as far as it is the same on every backend: who is up, and what is told of it.

The protocols of presence are in `appliance.wire`; `appliance.broker` and `appliance.zeromq` carry them.
"""
