"""Fuzzing: mutated messages, settings, files and command lines, each held to what must be true of any input."""
