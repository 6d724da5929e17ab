"""Data stores without their sockets and clocks: commands, the channel between a master and its clones, both roles.

Source: Broker, ``internal_command.hh``, ``internal/channel.hh``, ``internal/master_actor.cc``,
``internal/clone_actor.cc``.
"""
