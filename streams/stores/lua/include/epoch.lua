-- The fence: a stock under another epoch than the caller's, or under none, is left alone; so is one whose server was
-- restarted or promoted since it was given its epoch.
-- INCLUDE: stamp
local carried = redis.call('HMGET', META, 'epoch', 'stamp')
if carried[1] ~= ARGV[1] then
  return redis.error_reply('FENCED ' .. (carried[1] or 'none'))
end
if carried[2] ~= server_stamp() then
  return redis.error_reply('FENCED ' .. carried[1] .. ' restarted')
end
