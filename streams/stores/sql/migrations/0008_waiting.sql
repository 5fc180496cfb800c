-- What waits is looked for by the order that it was said of, too. A mapping that lacks a code can make it many.
CREATE INDEX quarantine_order_id ON quarantine (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX quarantine_channel_order_no ON quarantine (channel, channel_order_no) WHERE channel_order_no IS NOT NULL;
CREATE INDEX quarantine_shipment ON quarantine (shipment) WHERE shipment IS NOT NULL;
