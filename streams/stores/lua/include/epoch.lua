-- The fence: a stock under another epoch than the caller's, or under none, is left alone.
local carried_epoch = redis.call('HGET', META, 'epoch')
if carried_epoch ~= ARGV[1] then
  return redis.error_reply('FENCED ' .. (carried_epoch or 'none'))
end
