#!lua
-- retake: Sells to an order whose hold has expired, from the first pool that has all of it.
-- KEYS[1] meta: epoch, generation
-- KEYS[2] free: units by `sku|pool`
-- KEYS[3] on_hand: units free or held by `sku|pool`
-- KEYS[4] sold: units by `sku|pool`
-- KEYS[5] holds: live holds by order id
-- KEYS[6] ended:0: ends of holds, one generation
-- KEYS[7] ended:1: ends of holds, the other generation
-- KEYS[8] promos: promotions by id
-- KEYS[9] bought: units by `promotion|buyer`
-- ARGV[1] epoch: the ledger's
-- ARGV[2] id: the order's
-- ARGV[3] wanted: msgpack {pools: [{promotion or "", fields}], units}, own pool first
-- RETURNS: a letter: LATE_FROM_POOL, LATE_FROM_MAIN, LATE_REFUSED, the end that came first, or UNKNOWN.
-- CODES: EXPIRED=e EXPIRED_TO_MAIN=E LATE_FROM_POOL=l LATE_FROM_MAIN=L LATE_REFUSED=x UNKNOWN=?

local META, FREE, ON_HAND, SOLD, HOLDS, ENDED_0 = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local ENDED_1, PROMOS, BOUGHT = KEYS[7], KEYS[8], KEYS[9]
local EXPIRED, EXPIRED_TO_MAIN, LATE_FROM_POOL, LATE_FROM_MAIN = 'e', 'E', 'l', 'L'
local LATE_REFUSED, UNKNOWN = 'x', '?'

-- INCLUDE: epoch
-- INCLUDE: slices
-- INCLUDE: free_units
-- INCLUDE: ends
-- INCLUDE: promotions

local id = ARGV[2]
local wanted = cmsgpack.unpack(ARGV[3])
local ended = ends_of({id})[1] or UNKNOWN
local letter, owner = string.sub(ended, 1, 1), string.sub(ended, 2)
if redis.call('HEXISTS', HOLDS, id) == 1 then return UNKNOWN end
if letter ~= EXPIRED and letter ~= EXPIRED_TO_MAIN then return letter end

local total = 0
for i = 1, #wanted.units do total = total + wanted.units[i] end

-- Whether a pool may be sold from at all: not that of a closed promotion, nor past the buyer's limit.
local function allowed(promotion_id)
  if promotion_id == '' then return true end
  local promotion = promotion_named(promotion_id)
  if not promotion or promotion[4] == 1 then return false end
  if promotion[3] == 0 or string.match(owner, '^[^|]+') ~= promotion_id then return true end
  return tonumber(redis.call('HGET', BOUGHT, owner) or 0) + total <= promotion[3], promotion[3] > 0
end

-- The changes that selling from these fields makes, or nothing when one has not enough.
local function sale(fields)
  local change, names = {}, {}
  for i = 1, #fields do
    if not change[fields[i]] then names[#names + 1] = fields[i] end
    add(change, fields[i], wanted.units[i])
  end
  local free = hmget(FREE, names)
  for i = 1, #names do
    if tonumber(free[i] or 0) < change[names[i]] then return nil end
  end
  return change
end

for p = 1, #wanted.pools do
  local promotion_id, fields = wanted.pools[p][1], wanted.pools[p][2]
  local may, counted = allowed(promotion_id)
  local change = may and sale(fields)
  if change then
    local taken = {}
    for field, units in pairs(change) do taken[field] = -units end
    local sold = changed(SOLD, change)
    letter = p == 1 and LATE_FROM_POOL or LATE_FROM_MAIN
    write_free(taken)
    in_slices('HSET', SOLD, sold)
    if counted then redis.call('HINCRBY', BOUGHT, owner, string.format('%.0f', total)) end
    redis.call('HSET', ended_now, id, letter)
    return letter
  end
end
redis.call('HSET', ended_now, id, LATE_REFUSED)
return LATE_REFUSED
