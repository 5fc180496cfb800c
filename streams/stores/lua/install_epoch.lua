#!lua
-- install_epoch: Gives an empty stock its epoch; the one script that does not ask for it to be there.
-- KEYS[1] meta: epoch
-- KEYS[2] free: must be empty
-- KEYS[3] held: must be empty
-- KEYS[4] sold: must be empty
-- KEYS[5] holds: must be empty
-- KEYS[6] promos: must be empty
-- KEYS[7] seen:0: must be empty
-- KEYS[8] seen:1: must be empty
-- ARGV[1] epoch: the ledger's
-- RETURNS: 0
-- CODES: none

local META = KEYS[1]

local carried_epoch = redis.call('HGET', META, 'epoch')
if carried_epoch == ARGV[1] then return 0 end
if carried_epoch then return redis.error_reply('FENCED ' .. carried_epoch) end
-- Units without an epoch are of nobody knows when: they must not come to life under this one.
if redis.call('EXISTS', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]) > 0 then
  return redis.error_reply('FENCED none')
end
redis.call('HSET', META, 'epoch', ARGV[1])
return 0
