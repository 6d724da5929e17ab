"""The page at ``/ui/``: what the API tells, for people with a browser. It asks the API's own handlers alone."""
