"""Measurements on one machine: what each part can do alone, how peers do the same job, what an order costs."""
