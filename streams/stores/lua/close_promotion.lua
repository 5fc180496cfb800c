#!lua
-- close_promotion: Closes a promotion and sweeps what is free of it back to main.
-- KEYS[1] meta: epoch
-- KEYS[2] free: units by `sku|pool`
-- KEYS[3] on_hand: units free or held by `sku|pool`
-- KEYS[4] promos: promotions by id, beside `id|quota` and `id|swept`
-- ARGV[1] epoch: the ledger's
-- ARGV[2] promotion: its id
-- RETURNS: msgpack list of {sku, units} swept; false when the promotion is unknown.
-- CODES: none

local META, FREE, ON_HAND, PROMOS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

-- INCLUDE: epoch
-- INCLUDE: slices
-- INCLUDE: free_units
-- INCLUDE: promotions

local id = ARGV[2]
local promotion = promotion_named(id)
if not promotion then return false end
if promotion[4] == 1 then return redis.call('HGET', PROMOS, id .. '|swept') end

local quota = cmsgpack.unpack(redis.call('HGET', PROMOS, id .. '|quota'))
local fields, change, swept = {}, {}, {}
for i = 1, #quota do
  fields[2 * i - 1], fields[2 * i] = quota[i][1] .. '|main', quota[i][1] .. '|promo:' .. id
end
local free = hmget(FREE, fields)
for i = 1, #fields, 2 do
  local units = tonumber(free[i + 1])
  if units ~= 0 then -- what a rebuilt stock owes is main's to give, for what is given back from here on goes there
    swept[#swept + 1] = {quota[(i + 1) / 2][1], units}
    change[fields[i]], change[fields[i + 1]] = units, -units
  end
end
-- cmsgpack cannot tell an empty list from an empty map; 0x90 is the empty list.
local answer = #swept > 0 and cmsgpack.pack(swept) or '\144'
promotion[4] = 1
write_free(change, true)
redis.call('HSET', PROMOS, id, cmsgpack.pack(promotion), id .. '|swept', answer)
return answer
