"""What flows through Floodway and what is decided about it.

`core` is pure; `stores` are the edges (Kafka, Redis, Postgres), each with a fake that passes the same contract suite.
Nothing here imports faust.
"""
