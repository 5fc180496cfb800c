-- Where a record stood does not tell it from others for ever: a topic that is made anew counts from zero again. What it
-- says does, with its headers; a record that comes twice waits once.
ALTER TABLE quarantine ADD COLUMN digest bytea;
UPDATE quarantine SET digest = sha256(value || convert_to(log_partition || ':' || log_offset, 'UTF8'));
ALTER TABLE quarantine DROP CONSTRAINT quarantine_pkey, ADD PRIMARY KEY (digest);
