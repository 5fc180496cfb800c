#!lua
-- move: Moves free units of a SKU between its pools, once per ref.
-- KEYS[1] meta: epoch
-- KEYS[2] free: units by `sku|pool`
-- KEYS[3] on_hand: units free or held by `sku|pool`
-- KEYS[4] promos: promotions by id
-- KEYS[5] refs: results by `action:ref`
-- ARGV[1] epoch: the ledger's
-- ARGV[2] ref: the command's own name
-- ARGV[3] source: `sku|pool`
-- ARGV[4] target: `sku|pool`
-- ARGV[5] promotion: the target's, empty for main
-- ARGV[6] units: how many
-- RETURNS: a word; MOVED and NOT_ENOUGH are kept and returned to repeats, for the others nothing is kept.
-- CODES: MOVED=moved NOT_ENOUGH=not_enough NO_SOURCE=no_source NO_TARGET=no_target CLOSED=closed

local META, FREE, ON_HAND, PROMOS, REFS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local MOVED, NOT_ENOUGH, NO_SOURCE, NO_TARGET, CLOSED = 'moved', 'not_enough', 'no_source', 'no_target', 'closed'

-- INCLUDE: epoch
-- INCLUDE: slices
-- INCLUDE: free_units
-- INCLUDE: promotions

local ref = 'move:' .. ARGV[2]
local before = redis.call('HGET', REFS, ref)
if before then return before end
local free = redis.call('HMGET', FREE, ARGV[3], ARGV[4])
if not free[1] then return NO_SOURCE end
if not free[2] then return NO_TARGET end
-- What is put into the pool of a closed promotion would never be swept.
if ARGV[5] ~= '' and promotion_named(ARGV[5])[4] == 1 then return CLOSED end
local units = tonumber(ARGV[6])
local result = NOT_ENOUGH
if tonumber(free[1]) >= units then
  result = MOVED
  write_free({[ARGV[3]] = -units, [ARGV[4]] = units})
end
redis.call('HSET', REFS, ref, result)
return result
