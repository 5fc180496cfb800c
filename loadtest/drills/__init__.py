"""Drills: a surge, a fault in the middle of it, healing, and the books."""
