#!lua
-- settle: Takes expired holds off the list that expire_due repeats.
-- KEYS[1] meta: epoch
-- KEYS[2] unsettled: expired orders by id
-- ARGV[1] epoch: the ledger's
-- ARGV[2] ids: msgpack list of order ids
-- RETURNS: 0
-- CODES: none

local META, UNSETTLED = KEYS[1], KEYS[2]

-- INCLUDE: epoch
-- INCLUDE: slices

in_slices('HDEL', UNSETTLED, cmsgpack.unpack(ARGV[2]))
return 0
