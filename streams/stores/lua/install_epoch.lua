#!lua
-- install_epoch: Gives its epoch to a stock that was refilled under it, or that is empty.
-- KEYS[1] meta: epoch, stamp, rebuilding
-- KEYS[2] free: must be empty, unless refilled
-- KEYS[3] on_hand: must be empty, unless refilled
-- KEYS[4] sold: must be empty, unless refilled
-- KEYS[5] holds: must be empty, unless refilled
-- KEYS[6] promos: must be empty, unless refilled
-- KEYS[7] seen:0: must be empty, unless refilled
-- KEYS[8] seen:1: must be empty, unless refilled
-- ARGV[1] epoch: the ledger's
-- ARGV[2] refilled: 1 when it must have been refilled; an empty one has lost that again
-- RETURNS: 0
-- CODES: none

local META = KEYS[1]

-- INCLUDE: stamp

local carried = redis.call('HMGET', META, 'epoch', 'stamp', 'rebuilding')
local epoch, stamp, rebuilding = carried[1], carried[2], carried[3]
if (epoch or rebuilding) and stamp ~= server_stamp() then
  return redis.error_reply('FENCED ' .. (epoch or 'none') .. ' restarted')
end
if epoch == ARGV[1] then return 0 end
if epoch then return redis.error_reply('FENCED ' .. epoch) end
if not rebuilding and ARGV[2] == '1' then return redis.error_reply('FENCED none rebuilding') end
if rebuilding and rebuilding ~= ARGV[1] then return redis.error_reply('FENCED none') end
-- Units without an epoch are of nobody knows when: they must not come to life under this one.
if not rebuilding and redis.call('EXISTS', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]) > 0 then
  return redis.error_reply('FENCED none')
end
redis.call('HDEL', META, 'rebuilding')
redis.call('HSET', META, 'epoch', ARGV[1], 'stamp', server_stamp())
return 0
