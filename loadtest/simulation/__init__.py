"""Deterministic simulation: the real stages on simulated time, against stores, a broker and processes that fail.

A run is a function of its seed, its scenario and the code. `loop` owns time and order, `network` what becomes of a
call, `kafka` and `worker` the processes, `workload` what the shops send, `chaos` what breaks when, `oracle` what must
hold whatever breaks, `bugs` what it must find, and `run` puts them together.
"""
