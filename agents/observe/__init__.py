"""How processes tell how they are: `/metrics`, `/livez`, `/readyz`, on a small server of each process' own."""
