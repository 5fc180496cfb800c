#!lua
-- confirm: Turns holds into sold units.
-- KEYS[1] meta: epoch, generation
-- KEYS[2] on_hand: units free or held by `sku|pool`
-- KEYS[3] sold: units by `sku|pool`
-- KEYS[4] holds: live holds by order id
-- KEYS[5] ended:0: ends of holds, one generation
-- KEYS[6] ended:1: ends of holds, the other generation
-- ARGV[1] epoch: the ledger's
-- ARGV[2] ids: msgpack list of order ids
-- RETURNS: one letter per order id: CONFIRMED, the end that came first, or UNKNOWN.
-- CODES: CONFIRMED=c UNKNOWN=?

local META, ON_HAND, SOLD, HOLDS, ENDED_0, ENDED_1 = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local CONFIRMED, UNKNOWN = 'c', '?'

-- INCLUDE: epoch
-- INCLUDE: slices
-- INCLUDE: accounts
-- INCLUDE: ends
-- INCLUDE: holds

local ids = cmsgpack.unpack(ARGV[2])
local holds, ends = hmget(HOLDS, ids), ends_of(ids)
local on_hand_change, sold_change, confirmed, ended, letters, done = {}, {}, {}, {}, {}, {}
for i = 1, #ids do
  local id = ids[i]
  if holds[i] and not done[id] then
    local pool = hold_pool(hold_owner(holds[i]))
    for sku, text in hold_lines(holds[i]) do
      local field, units = sku .. pool, tonumber(text)
      add(on_hand_change, field, -units)
      add(sold_change, field, units)
    end
    done[id] = true
    confirmed[#confirmed + 1] = id
    ended[#ended + 1], ended[#ended + 2] = id, CONFIRMED
  end
  letters[i] = done[id] and CONFIRMED or string.sub(ends[i] or UNKNOWN, 1, 1)
end

local on_hand, sold = changed(ON_HAND, on_hand_change, true), changed(SOLD, sold_change)
in_slices('HSET', ON_HAND, on_hand)
in_slices('HSET', SOLD, sold)
in_slices('HDEL', HOLDS, confirmed)
in_slices('HSET', ended_now, ended)
return table.concat(letters)
