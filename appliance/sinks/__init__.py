"""Sinks: where items leave the appliance."""
