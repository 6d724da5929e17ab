"""What the appliance counts, in the formats of Prometheus: names, exposition, and a small listener for it."""
