-- How holds ended: a letter (`End` in streams/core/stock.py), and after that of an expired one its owner.
local ended_now, ended_before = ENDED_0, ENDED_1
if redis.call('HGET', META, 'generation') == '1' then ended_now, ended_before = ENDED_1, ENDED_0 end

-- What is remembered of these orders, in their order; false where nothing is.
local function ends_of(ids)
  local values = hmget(ended_now, ids)
  local missing, places = {}, {}
  for i = 1, #ids do
    if not values[i] then
      missing[#missing + 1] = ids[i]
      places[#missing] = i
    end
  end
  local before = hmget(ended_before, missing)
  for i = 1, #missing do values[places[i]] = before[i] end
  return values
end
