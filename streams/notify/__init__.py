"""Telling people: messages of `notifications.v1` and `tickets.v1` to webhooks, mail servers and logs.

`taking` makes what is read due for its targets, in the ledger, and acknowledges it. `lanes` deliver, one lane a target,
so that a slow target holds up no other; in each a `carrier`. `webhook` and `mail` are ways out.

See docs/notifications.md.
"""
