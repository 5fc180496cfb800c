#!lua
-- forget_buyers: Drops what buyers took of a closed promotion; nobody asks for it any more.
-- KEYS[1] meta: epoch
-- KEYS[2] promos: promotions by id
-- KEYS[3] bought: units by `promotion|buyer`
-- ARGV[1] epoch: the ledger's
-- ARGV[2] promotion: its id
-- ARGV[3] owners: msgpack list of `promotion|buyer`
-- RETURNS: 0
-- CODES: none

local META, PROMOS, BOUGHT = KEYS[1], KEYS[2], KEYS[3]

-- INCLUDE: epoch
-- INCLUDE: slices
-- INCLUDE: promotions

local promotion = promotion_named(ARGV[2])
if promotion and promotion[4] == 1 then in_slices('HDEL', BOUGHT, cmsgpack.unpack(ARGV[3])) end
return 0
