"""Pure: no I/O, no clock, no randomness. Everything here can be tested with plain values."""
