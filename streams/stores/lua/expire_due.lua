#!lua
-- expire_due: Ends holds whose deadline has come, the oldest first, and lists all that are not yet settled.
-- KEYS[1] meta: epoch, generation, rotate_at_ms
-- KEYS[2] free: units by `sku|pool`
-- KEYS[3] on_hand: units free or held by `sku|pool`
-- KEYS[4] holds: live holds by order id
-- KEYS[5] due: one member per batch, its deadline and the ids it accepted; score is the deadline
-- KEYS[6] unsettled: end letter and hold of expired orders by id
-- KEYS[7] ended:0: ends of holds, one generation
-- KEYS[8] ended:1: ends of holds, the other generation
-- KEYS[9] promos: promotions by id
-- KEYS[10] bought: units by `promotion|buyer`
-- KEYS[11] seen:0: decisions, rotated here
-- KEYS[12] seen:1: decisions, rotated here
-- ARGV[1] epoch: the ledger's
-- ARGV[2] now_ms: milliseconds since 1970
-- ARGV[3] retention_ms: how long an end is remembered at least
-- ARGV[4] limit: holds that may be unsettled; no more are ended than that leaves room for
-- RETURNS: false when the work of one call is done and more is due: call again; else a list of id, letter and hold, …
-- CODES: EXPIRED=e EXPIRED_TO_MAIN=E

local META, FREE, ON_HAND, HOLDS, DUE, UNSETTLED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local ENDED_0, ENDED_1, PROMOS, BOUGHT, SEEN_0, SEEN_1 = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12]
local EXPIRED, EXPIRED_TO_MAIN = 'e', 'E'

-- INCLUDE: epoch
-- INCLUDE: slices
-- INCLUDE: accounts
-- INCLUDE: rotation

local now_ms = tonumber(ARGV[2])
rotate(now_ms, tonumber(ARGV[3]))

-- INCLUDE: ends
-- INCLUDE: holds
-- INCLUDE: promotions
-- INCLUDE: give_back

-- Ids looked at in one call: most may be confirmed or released long ago, for those leave `due` only here.
local budget = 5000
local room = tonumber(ARGV[4]) - redis.call('HLEN', UNSETTLED)
local expired, ended, unsettled, done = {}, {}, {}, {}

-- Ends what is due of `ids` while there is room; returns how many ids are dealt with.
local function expire(ids)
  local holds = hmget(HOLDS, ids)
  for i = 1, #ids do
    local id, hold = ids[i], holds[i]
    -- A hold with a later deadline was taken anew under this id and stands in a later member.
    if hold and not done[id] and hold_due_ms(hold) <= now_ms then
      if room == 0 then return i - 1 end
      room = room - 1
      local owner, to_main = give_back(hold)
      local letter = to_main and EXPIRED_TO_MAIN or EXPIRED
      done[id] = true
      expired[#expired + 1] = id
      ended[#ended + 1], ended[#ended + 2] = id, letter .. owner
      unsettled[#unsettled + 1], unsettled[#unsettled + 2] = id, letter .. hold
    end
  end
  return #ids
end

local members, rest, rest_score = {}, nil, nil
local skip, drained = 0, false
while room > 0 and budget > 0 do
  local first = redis.call('ZRANGE', DUE, skip, skip, 'WITHSCORES')
  local member = first[1]
  if not member or tonumber(first[2]) > now_ms then
    drained = true
    break
  end
  skip = skip + 1
  local ids, size = {}, math.min(math.floor((#member - 8) / 16), budget)
  for i = 1, size do ids[i] = string.sub(member, 16 * i - 7, 16 * i + 8) end
  local dealt = expire(ids)
  budget = budget - size
  members[#members + 1] = member
  if 8 + 16 * dealt < #member then
    rest, rest_score = string.sub(member, 1, 8) .. string.sub(member, 16 * dealt + 9), first[2]
    break
  end
end

write_given_back()
in_slices('HDEL', HOLDS, expired)
in_slices('HSET', ended_now, ended)
in_slices('HSET', UNSETTLED, unsettled)
in_slices('ZREM', DUE, members)
if rest then redis.call('ZADD', DUE, rest_score, rest) end
if room > 0 and not drained then return false end
return redis.call('HGETALL', UNSETTLED)
