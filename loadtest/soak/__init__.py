"""A soak: orders for many minutes with a fault in each, and whether memory, latency and books stay what they were."""
