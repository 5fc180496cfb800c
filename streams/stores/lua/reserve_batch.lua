#!lua
-- reserve_batch: Decides submissions in order, all lines or none, and remembers each decision beside its key.
-- KEYS[1] meta: epoch, generation, rotate_at_ms
-- KEYS[2] free: units by `sku|pool`
-- KEYS[3] seen:0: decisions by idempotency key, one generation
-- KEYS[4] seen:1: decisions by idempotency key, the other generation
-- KEYS[5] holds: live holds by order id
-- KEYS[6] due: one member per batch, its deadline and the ids it accepted; score is the deadline
-- KEYS[7] promos: promotions by id
-- KEYS[8] bought: units by `promotion|buyer`
-- KEYS[9] ended:0: ends of holds, rotated here
-- KEYS[10] ended:1: ends of holds, rotated here
-- ARGV[1] epoch: the ledger's
-- ARGV[2] now_ms: milliseconds since 1970
-- ARGV[3] retention_ms: how long a decision is remembered at least
-- ARGV[4] batch: msgpack map of columns, see streams/stores/stock_codec.py
-- RETURNS: one byte per submission, its code, REPLAY or CONFLICT; then 41 bytes for each of the latter two, in order:
-- RETURNS: the first decision's code, fingerprint (8), order id (16), decided_at_ms (8), held_until_ms (8).
-- CODES: ACCEPTED=0 OUT_OF_STOCK=1 UNKNOWN_SKU=2 UNKNOWN_PROMOTION=3 PROMOTION_NOT_OPEN=4 PROMOTION_CLOSED=5
-- CODES: NOT_IN_PROMOTION=6 BUYER_LIMIT=7 REPLAY=8 CONFLICT=9

local META, FREE, SEEN_0, SEEN_1, HOLDS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local DUE, PROMOS, BOUGHT, ENDED_0, ENDED_1 = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local ACCEPTED, OUT_OF_STOCK, UNKNOWN_SKU, UNKNOWN_PROMOTION, PROMOTION_NOT_OPEN = 0, 1, 2, 3, 4
local PROMOTION_CLOSED, NOT_IN_PROMOTION, BUYER_LIMIT, REPLAY, CONFLICT = 5, 6, 7, 8, 9

-- INCLUDE: epoch
-- INCLUDE: slices
-- INCLUDE: promotions
-- INCLUDE: rotation

local now_ms = tonumber(ARGV[2])
local batch = cmsgpack.unpack(ARGV[4])
local keys, memos = batch.keys, batch.memos
local basket_of, basket_end, basket_text = batch.basket_of, batch.basket_end, batch.basket_text
local fields, line_field, line_units = batch.fields, batch.line_field, batch.line_units
local promotion_of, owners, owner_of = batch.promotion_of, batch.owners, batch.owner_of
local accepted_times, refused_times = batch.accepted_times, batch.refused_times
local count = #keys
local one_line = #basket_end == 0
local with_promotions = #promotion_of > 0
-- A key or an order id stands in this batch twice: only then is it worth remembering them on the way.
local tangled = batch.tangled

rotate(now_ms, tonumber(ARGV[3]))
local seen_now, seen_before = SEEN_0, SEEN_1
if redis.call('HGET', META, 'generation') == '1' then seen_now, seen_before = SEEN_1, SEEN_0 end

-- Everything is read before anything is decided, and decided before anything is written.
local seen = hmget(seen_now, keys)
if redis.call('EXISTS', seen_before) == 1 then
  local before = hmget(seen_before, keys)
  for i = 1, count do seen[i] = seen[i] or before[i] end
end
local free = hmget(FREE, fields)
for f = 1, #fields do free[f] = free[f] and tonumber(free[f]) end
local bought = hmget(BOUGHT, owners)
for o = 1, #owners do bought[o] = tonumber(bought[o] or 0) end

local limits, refusals = {}, {}
for p = 1, #batch.promotions do
  local promotion = promotion_named(batch.promotions[p])
  limits[p] = promotion and promotion[3] or 0
  if not promotion then
    refusals[p] = UNKNOWN_PROMOTION
  elseif promotion[4] == 1 or now_ms >= promotion[2] then
    refusals[p] = PROMOTION_CLOSED
  elseif now_ms < promotion[1] then
    refusals[p] = PROMOTION_NOT_OPEN
  end
end

-- The first and last line of order `i`.
local function lines_of(i)
  local basket = basket_of[i]
  if one_line then return basket, basket end
  return (basket_end[basket - 1] or 0) + 1, basket_end[basket]
end

-- What is to be said of order `i`, whose lines are each of another SKU, as things stand.
local function decide(i)
  local p = with_promotions and promotion_of[i] or 0
  if refusals[p] then return refusals[p] end
  local from, to = lines_of(i)
  local units, short = 0, false
  for line = from, to do
    local left, wanted = free[line_field[line]], line_units[line]
    if not left then return p > 0 and NOT_IN_PROMOTION or UNKNOWN_SKU end
    if left < wanted then short = true end
    units = units + wanted
  end
  if p > 0 and limits[p] > 0 and bought[owner_of[i]] + units > limits[p] then return BUYER_LIMIT end
  return short and OUT_OF_STOCK or ACCEPTED
end

local taken, bought_changed = {}, {}

-- Takes all lines of an order that is to be accepted.
local function take(i)
  local from, to = lines_of(i)
  local units = 0
  for line = from, to do
    local field, wanted = line_field[line], line_units[line]
    free[field] = free[field] - wanted
    taken[field] = true
    units = units + wanted
  end
  if with_promotions and promotion_of[i] > 0 and limits[promotion_of[i]] > 0 then
    local owner = owner_of[i]
    bought[owner] = bought[owner] + units
    bought_changed[owner] = true
  end
end

-- Holds on main are shared by all orders that ask for the same: each new string costs.
local hold_text = {}

local function hold_of(i)
  local basket = basket_of[i]
  if with_promotions and promotion_of[i] > 0 then return accepted_times .. owners[owner_of[i]] .. basket_text[basket] end
  local text = hold_text[basket]
  if not text then
    text = accepted_times .. basket_text[basket]
    hold_text[basket] = text
  end
  return text
end

-- A live hold is memory too: the key may be forgotten, but to take again would lose the units held. Only what could be
-- accepted as the batch begins can be in its course, for units become fewer, so only of that holds are looked up; to
-- find out which that is costs more than a look-up where orders have many lines.
local candidates, candidate_ids = {}, {}
for i = 1, count do
  if not seen[i] and (not one_line or decide(i) == ACCEPTED) then
    candidates[#candidates + 1] = i
    candidate_ids[#candidates] = string.sub(memos[i], 10, 25)
  end
end
local ids, hold_by_id = {}, {}
local holds = hmget(HOLDS, candidate_ids)
for c = 1, #candidates do
  ids[candidates[c]] = candidate_ids[c]
  if holds[c] then hold_by_id[candidate_ids[c]] = holds[c] end
end

local BYTE = {}
for code = ACCEPTED, CONFLICT do BYTE[code] = string.char(code) end
local answers, answer_memos, seen_pairs, hold_pairs, held_ids = {}, {}, {}, {}, {}
local seen_count, held_count = 0, 0
local memo_by_key = {}

-- Decides order `i` whose key is new; returns its memo, and whether a live hold had decided it before.
local function settle(i)
  local code = decide(i)
  if code ~= ACCEPTED then
    answers[i] = BYTE[code]
    return BYTE[code] .. string.sub(memos[i], 2, 25) .. refused_times, false
  end
  local id = ids[i]
  local held = hold_by_id[id]
  if held then
    answers[i] = BYTE[REPLAY]
    return string.sub(memos[i], 1, 25) .. string.sub(held, 1, 16), true
  end
  local hold = hold_of(i)
  take(i)
  held_count = held_count + 1
  held_ids[held_count] = id
  hold_pairs[2 * held_count - 1], hold_pairs[2 * held_count] = id, hold
  if tangled then hold_by_id[id] = hold end
  answers[i] = BYTE[ACCEPTED]
  return memos[i], false
end

for i = 1, count do
  local key, replay = keys[i], true
  local memo = seen[i] or tangled and memo_by_key[key]
  if memo then
    answers[i] = BYTE[string.sub(memo, 2, 9) == string.sub(memos[i], 2, 9) and REPLAY or CONFLICT]
  else
    memo, replay = settle(i)
    seen_count = seen_count + 1
    seen_pairs[2 * seen_count - 1], seen_pairs[2 * seen_count] = key, memo
    if tangled then memo_by_key[key] = memo end
  end
  if replay then answer_memos[#answer_memos + 1] = memo end
end

local free_pairs, bought_pairs, changed = {}, {}, 0
-- Numbers are written out here, for the server would do it through floating point, at several times the cost. What is
-- held needs no writing: it is what a pool has on hand and is not free.
for f in pairs(taken) do
  changed = changed + 2
  free_pairs[changed - 1], free_pairs[changed] = fields[f], string.format('%d', free[f])
end
for o in pairs(bought_changed) do
  bought_pairs[#bought_pairs + 1] = owners[o]
  bought_pairs[#bought_pairs + 1] = string.format('%d', bought[o])
end

in_slices('HSET', seen_now, seen_pairs)
in_slices('HSET', HOLDS, hold_pairs)
in_slices('HSET', FREE, free_pairs)
in_slices('HSET', BOUGHT, bought_pairs)
if held_count > 0 then
  -- The deadline leads the member, so that equal ids under another deadline are another member.
  redis.call('ZADD', DUE, batch.held_until_ms, string.sub(accepted_times, 9, 16) .. table.concat(held_ids))
end
return table.concat(answers) .. table.concat(answer_memos)
