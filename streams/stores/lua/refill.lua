#!lua
-- refill: Writes a page of what the ledger remembers into a stock that is being rebuilt.
-- KEYS[1] meta: rebuilding, stamp
-- KEYS[2] free: units by `sku|pool`
-- KEYS[3] on_hand: units free or held by `sku|pool`
-- KEYS[4] sold: units by `sku|pool`
-- KEYS[5] seen:1: decisions, as the older generation: they are of the past
-- KEYS[6] holds: live holds by order id
-- KEYS[7] due: batches of order ids by deadline
-- KEYS[8] ended:0: ends found here
-- KEYS[9] ended:1: ends of the past
-- KEYS[10] unsettled: end letter and hold of expired orders by id
-- KEYS[11] promos: promotions by id
-- KEYS[12] bought: units by `promotion|buyer`
-- KEYS[13] refs: results by `action:ref`
-- ARGV[1] epoch: the one that the stock is rebuilt under
-- ARGV[2] page: msgpack map of lists, see streams/stores/refill_codec.py
-- RETURNS: 0
-- CODES: EXPIRED=e EXPIRED_TO_MAIN=E

local META, FREE, ON_HAND, SOLD, SEEN_1, HOLDS, DUE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local ENDED_0, ENDED_1, UNSETTLED, PROMOS, BOUGHT, REFS = KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local EXPIRED, EXPIRED_TO_MAIN = 'e', 'E'

-- INCLUDE: stamp

local carried = redis.call('HMGET', META, 'rebuilding', 'stamp')
if carried[1] ~= ARGV[1] or carried[2] ~= server_stamp() then
  return redis.error_reply('FENCED ' .. (redis.call('HGET', META, 'epoch') or 'none') .. ' rebuilding')
end

-- INCLUDE: slices
-- INCLUDE: accounts
-- INCLUDE: holds
-- INCLUDE: promotions
-- INCLUDE: give_back

local page = cmsgpack.unpack(ARGV[2])
in_slices('HSET', FREE, page.free)
in_slices('HSET', ON_HAND, page.on_hand)
in_slices('HSET', SOLD, page.sold)
in_slices('HSET', SEEN_1, page.seen)
in_slices('HSET', ENDED_1, page.ended)
in_slices('HSET', PROMOS, page.promos)
in_slices('HSET', BOUGHT, page.bought)
in_slices('HSET', REFS, page.refs)
in_slices('HSET', HOLDS, page.holds)
in_slices('ZADD', DUE, page.due)

-- Holds that had expired when their order went on without them: what `expire_due` does, and the end that came after.
local ids, ended, unsettled = {}, {}, {}
for i = 1, #page.expired, 2 do ids[#ids + 1] = page.expired[i] end
local holds = hmget(HOLDS, ids)
for i = 1, #ids do
  local owner, to_main = give_back(holds[i])
  local letter, after = to_main and EXPIRED_TO_MAIN or EXPIRED, page.expired[2 * i]
  ended[2 * i - 1], ended[2 * i] = ids[i], after == EXPIRED and letter .. owner or after
  unsettled[2 * i - 1], unsettled[2 * i] = ids[i], letter .. holds[i]
end
write_given_back()
in_slices('HDEL', HOLDS, ids)
in_slices('HSET', ENDED_0, ended)
in_slices('HSET', UNSETTLED, unsettled)
return 0
