#!lua
-- restock: Puts sold units back on the shelf, in their pool or, when its promotion has closed, in main.
-- KEYS[1] meta: epoch, generation
-- KEYS[2] free: units by `sku|pool`
-- KEYS[3] on_hand: units free or held by `sku|pool`
-- KEYS[4] sold: units by `sku|pool`
-- KEYS[5] ended:0: what came of holds and restocks, one generation
-- KEYS[6] ended:1: what came of holds and restocks, the other generation
-- KEYS[7] promos: promotions by id
-- ARGV[1] epoch: the ledger's
-- ARGV[2] wanted: msgpack {ids, of: [{promotion or "", sku, units, …}]}, in the order of the ids
-- RETURNS: one letter per id: RESTOCKED or RESTOCKED_TO_MAIN, now or before.
-- CODES: RESTOCKED=s RESTOCKED_TO_MAIN=S

local META, FREE, ON_HAND, SOLD, ENDED_0, ENDED_1 = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local PROMOS = KEYS[7]
local RESTOCKED, RESTOCKED_TO_MAIN = 's', 'S'

-- INCLUDE: epoch
-- INCLUDE: slices
-- INCLUDE: free_units
-- INCLUDE: ends
-- INCLUDE: promotions

local wanted = cmsgpack.unpack(ARGV[2])
local ids, known = wanted.ids, ends_of(wanted.ids)
local free_change, sold_change, ended, letters, done = {}, {}, {}, {}, {}
for i = 1, #ids do
  local id = ids[i]
  letters[i] = done[id] or known[i]
  if not letters[i] then
    local asked = wanted.of[i]
    local promotion = asked[1] ~= '' and promotion_named(asked[1])
    local to_main = promotion and promotion[4] == 1
    local from = asked[1] == '' and '|main' or '|promo:' .. asked[1]
    for line = 2, #asked, 2 do
      add(sold_change, asked[line] .. from, -asked[line + 1])
      add(free_change, asked[line] .. (to_main and '|main' or from), asked[line + 1])
    end
    letters[i] = to_main and RESTOCKED_TO_MAIN or RESTOCKED
    done[id] = letters[i]
    ended[#ended + 1], ended[#ended + 2] = id, letters[i]
  end
end

local sold = changed(SOLD, sold_change)
write_free(free_change, true)
in_slices('HSET', SOLD, sold)
in_slices('HSET', ended_now, ended)
return table.concat(letters)
