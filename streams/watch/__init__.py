"""The watch: looks every so often whether something needs people, and keeps one ticket for each cause until it is gone.

`look` evaluates the rules of `rules.toml`, or of a file of one's own; what a look makes of a ticket is decided in
`streams.core.ticketing`. See docs/watch.md.
"""
