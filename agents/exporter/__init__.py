"""The exporter: lag, stores and stock seen from outside, and how many workers there should be. It runs beside them."""
