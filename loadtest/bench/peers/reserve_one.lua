-- Decides one order: seen before? all lines there? then takes and holds them. One round trip an order.
-- KEYS: free (units by SKU), decided (answers by key), holds (by order id), due (order ids by deadline)
-- ARGV: key, order id, held_until_ms, then SKU and units by turns
-- Returns 1 accepted, 0 refused; for a repeat what it said the first time.
local seen = redis.call('HGET', KEYS[2], ARGV[1])
if seen then return tonumber(seen) end
local accepted = 1
for i = 4, #ARGV, 2 do
  local free = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0)
  if free < tonumber(ARGV[i + 1]) then accepted = 0 end
end
if accepted == 1 then
  for i = 4, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], -ARGV[i + 1]) end
  redis.call('HSET', KEYS[3], ARGV[2], table.concat(ARGV, '\n', 4))
  redis.call('ZADD', KEYS[4], ARGV[3], ARGV[2])
end
redis.call('HSET', KEYS[2], ARGV[1], accepted)
return accepted
