"""The tupelo server: processing units, coordinator, deployment manager and messaging tier."""
