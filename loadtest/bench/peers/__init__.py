"""The same job done in other ways, each as its good users would write it, each a process of its own.

All read one-order messages from a topic of their own, decide on stock once for each key, keep decision, order and
lines in Postgres, and announce a `Decision` that is durable; none commits an offset before that.
"""
