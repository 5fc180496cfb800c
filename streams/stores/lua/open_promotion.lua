#!lua
-- open_promotion: Moves a promotion's quota out of main and opens it; all of it or nothing.
-- KEYS[1] meta: epoch
-- KEYS[2] free: units by `sku|pool`
-- KEYS[3] on_hand: units free or held by `sku|pool`
-- KEYS[4] promos: promotions by id, beside `id|quota` and `id|swept`
-- ARGV[1] epoch: the ledger's
-- ARGV[2] promotion: its id
-- ARGV[3] terms: msgpack {opens_at_ms, closes_at_ms, buyer_limit, 0}
-- ARGV[4] quota: msgpack list of {sku, units}, each SKU once
-- RETURNS: {OPEN}; {SHORT, sku, missing, …}; {CLOSED}, or {OTHER_TERMS} when it is open under others.
-- CODES: OPEN=0 SHORT=1 CLOSED=2 OTHER_TERMS=3

local META, FREE, ON_HAND, PROMOS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local OPEN, SHORT, CLOSED, OTHER_TERMS = 0, 1, 2, 3

-- INCLUDE: epoch
-- INCLUDE: slices
-- INCLUDE: free_units
-- INCLUDE: promotions

local id = ARGV[2]
local known = promotion_named(id)
if known then
  if known[4] == 1 then return {CLOSED} end
  local same = redis.call('HGET', PROMOS, id) == ARGV[3] and redis.call('HGET', PROMOS, id .. '|quota') == ARGV[4]
  return {same and OPEN or OTHER_TERMS}
end

local quota = cmsgpack.unpack(ARGV[4])
local fields, change, answer = {}, {}, {SHORT}
for i = 1, #quota do fields[i] = quota[i][1] .. '|main' end
local free = hmget(FREE, fields)
for i = 1, #quota do
  local sku, units = quota[i][1], quota[i][2]
  local left = tonumber(free[i] or 0) - units
  if left < 0 then
    answer[#answer + 1] = sku
    answer[#answer + 1] = string.format('%.0f', -left)
  end
  change[fields[i]], change[sku .. '|promo:' .. id] = -units, units
end
if #answer > 1 then return answer end
write_free(change)
redis.call('HSET', PROMOS, id, ARGV[3], id .. '|quota', ARGV[4])
return {OPEN}
