#!lua
-- begin_rebuild: Empties the stock, to be refilled under a new epoch.
-- KEYS[1] meta: epoch, stamp, rebuilding, installation
-- KEYS[2] free: dropped
-- KEYS[3] on_hand: dropped
-- KEYS[4] sold: dropped
-- KEYS[5] seen:0: dropped
-- KEYS[6] seen:1: dropped
-- KEYS[7] holds: dropped
-- KEYS[8] due: dropped
-- KEYS[9] ended:0: dropped
-- KEYS[10] ended:1: dropped
-- KEYS[11] unsettled: dropped
-- KEYS[12] promos: dropped
-- KEYS[13] bought: dropped
-- KEYS[14] refs: dropped
-- ARGV[1] epoch: the new one
-- ARGV[2] installation: the ledger's
-- ARGV[3] take_over: 1 when a person said that whatever this stock carries may go
-- RETURNS: 0
-- CODES: none

local META = KEYS[1]

-- INCLUDE: stamp

local carried = redis.call('HMGET', META, 'epoch', 'rebuilding', 'installation')
local epoch, rebuilding, installation = carried[1], carried[2], carried[3]
-- Never twice under one epoch: a call that was given up and arrives late would drop what has been refilled since.
if rebuilding == ARGV[1] or epoch == ARGV[1] then return redis.error_reply('FENCED ' .. ARGV[1] .. ' rebuilding') end
if ARGV[3] ~= '1' then
  if installation and installation ~= ARGV[2] then return redis.error_reply('FENCED ' .. (epoch or 'none') .. ' foreign') end
  for _, other in ipairs({epoch or '0', rebuilding or '0'}) do
    if tonumber(other) > tonumber(ARGV[1]) then return redis.error_reply('FENCED ' .. other) end
  end
end
redis.call('UNLINK', META, KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11],
           KEYS[12], KEYS[13], KEYS[14])
redis.call('HSET', META, 'rebuilding', ARGV[1], 'stamp', server_stamp(), 'installation', ARGV[2])
return 0
