-- A promotion is {opens_at_ms, closes_at_ms, buyer_limit, closed} in msgpack; false when unknown.
local promotions_read = {}

local function promotion_named(id)
  local known = promotions_read[id]
  if known == nil then
    local packed = redis.call('HGET', PROMOS, id)
    known = packed and cmsgpack.unpack(packed)
    promotions_read[id] = known
  end
  return known
end
