"""The demonstration: an appliance, and traffic that looks like a site's."""
