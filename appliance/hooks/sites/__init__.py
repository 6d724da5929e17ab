"""Packages with ``HOOK`` and ``EXIT``, the interface of BroAPT: their callables run in processes of their own, one for
each module that they are from, so that what a module remembers stays and what it does harms no other.
"""
