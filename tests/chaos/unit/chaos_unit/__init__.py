"""Objects that show afterwards whatever a grid did wrong: loss, repetition, half a change."""
