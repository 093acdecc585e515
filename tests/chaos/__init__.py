"""Real processes, real faults: what is promised must hold in what clients were told."""
