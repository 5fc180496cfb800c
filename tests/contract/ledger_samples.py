"""Data as each version of the schema would hold it: one script of SQL for each migration, in the columns it had.

A new migration adds a script here; the tests then migrate from each version to the newest with its data.
"""

BOOKS = """
        INSERT INTO epochs (epoch, reason) VALUES (1, 'first');
        INSERT INTO decisions (decided_at, submitted_at, log_offset, log_partition, verdict, order_id, fingerprint,
                               channel, submission_id, held_until, total, buyer_id, currency, trace_id, skus, qtys,
                               unit_prices)
        VALUES ('2026-11-11 00:00:00.005+00', '2026-11-11+00', 1, 3, 0, '01a20179-bf2a-7deb-b553-195073662a22', 'f1',
                'web', 's-000001', '2026-11-11 00:30+00', 900, 'buyer-1', 'EUR', 't', '{TEA}', '{2}', '{450}');
        INSERT INTO decisions (decided_at, submitted_at, log_offset, log_partition, verdict, order_id, fingerprint,
                               channel, submission_id)
        VALUES ('2026-11-11 00:00:00.006+00', '2026-11-11+00', 2, 3, 1, '01a20179-bf2a-7deb-b553-195073662a23', 'f2',
                'web', 's-000002');
        INSERT INTO command_movements VALUES ('2026-11-11+00', 10, 0, 0, 0, 'delivery', 'TEA', 'main');
        INSERT INTO order_steps (at, occurred_at, state, order_id, source, event_id, kind)
        VALUES ('2026-11-11 00:01+00', '2026-11-11 00:01+00', 1, '01a20179-bf2a-7deb-b553-195073662a22', 'pay', 'e1',
                'payment.succeeded');
        INSERT INTO order_movements
        VALUES ('2026-11-11 00:01+00', 0, -2, 2, 2, '01a20179-bf2a-7deb-b553-195073662a22', 'TEA', 'main');
    """

STORY = (
    BOOKS
    + """
        UPDATE order_steps SET milestone = 1040, raw_code = '已付款', zone = 'Asia/Shanghai';
        INSERT INTO order_steps (at, occurred_at, milestone, advanced, order_id, source, event_id, kind, shipment)
        VALUES ('2026-11-11 00:02+00', '2026-11-11 00:02+00', 3050, true, '01a20179-bf2a-7deb-b553-195073662a22', 'wms',
                'e2', 'parcel.shipped', 'SF1');
        INSERT INTO outbox VALUES ('2026-11-11 00:02+00', 'a:changed:shipped',
            '{"topic":"orders.changed.v1","key":"a","id":"a:changed:shipped","value":{"x":1}}');
        INSERT INTO quarantine
        VALUES ('2026-11-11+00', 7, 0, 'unknown_code', 'tmall', 'NEW', NULL, NULL, NULL, NULL, 'x', '{}', '{}');
        INSERT INTO tickets VALUES ('2026-11-11+00', NULL, 'unknown_code:tmall:NEW', 'unknown_code', 'NEW', 'd', 'f');
    """
)

QUARANTINED = STORY.replace("'{}', '{}');", "'{}', '{}', 'd');")

DELIVERED = (
    QUARANTINED
    + """
        INSERT INTO deliveries_due (due_at, log_offset, log_partition, target, delivery_id, topic, key, value)
        VALUES ('2026-11-11+00', 1, 0, 'shop', 'n-1', 'notifications.v1', 'k', '{}');
        INSERT INTO deliveries VALUES ('2026-11-11+00', 1, 'shop', 'n-0', NULL);
    """
)

WATCHED = (
    DELIVERED
    + """
        UPDATE tickets SET affected = 3, level = 1, clear_since = '2026-11-11+00', acked_by = 'ann';
        INSERT INTO ticket_events (at, affected, level, ticket_id, event, who)
        VALUES ('2026-11-11+00', 3, 1, 'unknown_code:tmall:NEW', 'escalated', NULL);
        INSERT INTO watch_marks VALUES ('2026-11-11+00', 'sources');
        INSERT INTO watch_orders VALUES ('2026-11-11+00', '01a20179-bf2a-7deb-b553-195073662a22', 'r', 'web');
        INSERT INTO source_activity VALUES ('2026-11-11+00', 'sf');
        INSERT INTO source_delays VALUES ('2026-11-11+00', 1, 10.5, 24, 'sf');
    """
)

RESTOCKED = (
    WATCHED
    + """
        INSERT INTO restocks
        VALUES ('2026-11-11 00:03+00', NULL, '01a20179-bf2a-7deb-b553-195073662a22', 'r', 'main', '{TEA}', '{1}');
    """
)

SAMPLES = {
    "0001_books": BOOKS,
    "0002_failover": BOOKS,
    "0003_story": STORY,
    "0004_quarantine": QUARANTINED,
    "0005_deliveries": DELIVERED,
    "0006_traces": DELIVERED,
    "0007_watch": WATCHED,
    "0008_waiting": WATCHED,
    "0009_restocks": RESTOCKED,
}
