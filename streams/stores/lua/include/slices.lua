-- One call takes some 8,000 values from Lua's stack, so longer lists go in slices; even, so that no pair is cut.
local SLICE = 4000

local function hmget(key, fields)
  local count = #fields
  if count == 0 then return {} end
  if count <= SLICE then return redis.call('HMGET', key, unpack(fields)) end
  local values = {}
  for from = 1, count, SLICE do
    local part = redis.call('HMGET', key, unpack(fields, from, math.min(from + SLICE - 1, count)))
    for i = 1, #part do values[from + i - 1] = part[i] end
  end
  return values
end

-- For commands that take a key and a list, as HSET, HDEL do; an empty list is no call.
local function in_slices(command, key, list)
  local count = #list
  for from = 1, count, SLICE do
    redis.call(command, key, unpack(list, from, math.min(from + SLICE - 1, count)))
  end
end
