"""Real servers that tests and measurements run against, found on this machine or fetched."""
