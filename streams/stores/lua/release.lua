#!lua
-- release: Gives holds back, to their pool or, when its promotion has closed, to main.
-- KEYS[1] meta: epoch, generation
-- KEYS[2] free: units by `sku|pool`
-- KEYS[3] on_hand: units free or held by `sku|pool`
-- KEYS[4] holds: live holds by order id
-- KEYS[5] ended:0: ends of holds, one generation
-- KEYS[6] ended:1: ends of holds, the other generation
-- KEYS[7] promos: promotions by id
-- KEYS[8] bought: units by `promotion|buyer`
-- ARGV[1] epoch: the ledger's
-- ARGV[2] ids: msgpack list of order ids
-- RETURNS: one letter per order id: RELEASED, RELEASED_TO_MAIN, the end that came first, or UNKNOWN.
-- CODES: RELEASED=r RELEASED_TO_MAIN=R UNKNOWN=?

local META, FREE, ON_HAND, HOLDS, ENDED_0, ENDED_1 = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local PROMOS, BOUGHT = KEYS[7], KEYS[8]
local RELEASED, RELEASED_TO_MAIN, UNKNOWN = 'r', 'R', '?'

-- INCLUDE: epoch
-- INCLUDE: slices
-- INCLUDE: accounts
-- INCLUDE: ends
-- INCLUDE: holds
-- INCLUDE: promotions
-- INCLUDE: give_back

local ids = cmsgpack.unpack(ARGV[2])
local holds, ends = hmget(HOLDS, ids), ends_of(ids)
local released, ended, letters, done = {}, {}, {}, {}
for i = 1, #ids do
  local id = ids[i]
  if holds[i] and not done[id] then
    local _, to_main = give_back(holds[i])
    done[id] = to_main and RELEASED_TO_MAIN or RELEASED
    released[#released + 1] = id
    ended[#ended + 1], ended[#ended + 2] = id, done[id]
  end
  letters[i] = done[id] or string.sub(ends[i] or UNKNOWN, 1, 1)
end

write_given_back()
in_slices('HDEL', HOLDS, released)
in_slices('HSET', ended_now, ended)
return table.concat(letters)
