"""How the whole installation stands, for people: what `floodway top` and the exporter's page `/ops` show."""
