"""Load: real baskets as a surge, an open-model generator, and observers that measure from the intended time."""
