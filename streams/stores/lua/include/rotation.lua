-- Memory has two generations: when the younger has been written to for the retention, the older is dropped and they
-- change places, so an entry lives for one to two retentions. One call drops one generation at most, whatever the
-- clock says; it takes two calls from a clock that is a retention ahead to drop what was just written.
local function rotate(now_ms, retention_ms)
  local at_ms = tonumber(redis.call('HGET', META, 'rotate_at_ms') or 0)
  -- A time too far ahead was set by a clock since put back, or under a longer retention.
  if now_ms < at_ms and at_ms <= now_ms + 2 * retention_ms then return end
  if at_ms > 0 and now_ms >= at_ms then
    if redis.call('HGET', META, 'generation') == '1' then
      redis.call('UNLINK', SEEN_0, ENDED_0)
      redis.call('HSET', META, 'generation', '0')
    else
      redis.call('UNLINK', SEEN_1, ENDED_1)
      redis.call('HSET', META, 'generation', '1')
    end
  end
  redis.call('HSET', META, 'rotate_at_ms', string.format('%.0f', now_ms + retention_ms))
end
