"""Hooks: the site's own Python, called for records and segments."""
