#!lua
-- receive: Adds units to main, or takes free ones off; all items or none, once per ref.
-- KEYS[1] meta: epoch
-- KEYS[2] free: units by `sku|pool`
-- KEYS[3] on_hand: units free or held by `sku|pool`
-- KEYS[4] refs: results by `action:ref`
-- ARGV[1] epoch: the ledger's
-- ARGV[2] ref: the command's own name
-- ARGV[3] items: msgpack list of field, units, …, each field once
-- RETURNS: {RECEIVED} or {REPEATED}; {REFUSED, field, free} for the first item that cannot be.
-- CODES: RECEIVED=0 REPEATED=1 REFUSED=2

local META, FREE, ON_HAND, REFS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local RECEIVED, REPEATED, REFUSED = 0, 1, 2
local MAX_UNITS = 9007199254740991

-- INCLUDE: epoch
-- INCLUDE: slices
-- INCLUDE: free_units

local ref = 'receive:' .. ARGV[2]
if redis.call('HEXISTS', REFS, ref) == 1 then return {REPEATED} end
local items = cmsgpack.unpack(ARGV[3])
local fields, change = {}, {}
for i = 1, #items, 2 do
  fields[#fields + 1] = items[i]
  change[items[i]] = items[i + 1]
end
local free = hmget(FREE, fields)
for i = 1, #fields do
  local units = tonumber(free[i] or 0) + change[fields[i]]
  if units < 0 and change[fields[i]] < 0 or units > MAX_UNITS then return {REFUSED, fields[i], free[i] or '0'} end
end
write_free(change)
redis.call('HSET', REFS, ref, RECEIVED)
return {RECEIVED}
