#!lua
-- adopt_epoch: Gives another epoch to a stock that has lost nothing, after the ledger has moved to another server.
-- KEYS[1] meta: epoch, stamp
-- ARGV[1] epoch: the ledger's new one
-- ARGV[2] before: the one that the stock must carry
-- RETURNS: 0
-- CODES: none

local META = KEYS[1]

-- INCLUDE: stamp

local carried = redis.call('HMGET', META, 'epoch', 'stamp')
local epoch, stamp = carried[1], carried[2]
if epoch and stamp ~= server_stamp() then return redis.error_reply('FENCED ' .. epoch .. ' restarted') end
if epoch == ARGV[1] then return 0 end
if epoch ~= ARGV[2] then return redis.error_reply('FENCED ' .. (epoch or 'none')) end
redis.call('HSET', META, 'epoch', ARGV[1])
return 0
