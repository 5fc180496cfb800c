-- Units of ended holds go back to their pool, or to main once their promotion has closed. The buyer's allowance comes
-- back too, unless the promotion has closed: nobody asks for it any more and `forget_buyers` clears it away.
local free_change, held_change, bought_change = {}, {}, {}

-- Notes what giving one hold back changes; returns its owner and whether the units go to main.
local function give_back(hold)
  local owner = hold_owner(hold)
  local promotion = owner ~= '' and promotion_named(string.match(owner, '^[^|]+'))
  local to_main = promotion and promotion[4] == 1
  local total = 0
  for field, text in hold_lines(hold) do
    local units = tonumber(text)
    add(held_change, field, -units)
    add(free_change, to_main and string.match(field, '^[^|]+') .. '|main' or field, units)
    total = total + units
  end
  if promotion and not to_main and promotion[3] > 0 then add(bought_change, owner, -total) end
  return owner, to_main
end

local function write_given_back()
  local free, held, bought = changed(FREE, free_change), changed(HELD, held_change), changed(BOUGHT, bought_change)
  in_slices('HSET', FREE, free)
  in_slices('HSET', HELD, held)
  for i = 1, #bought, 2 do
    if bought[i + 1] > 0 then
      redis.call('HSET', BOUGHT, bought[i], bought[i + 1])
    else
      redis.call('HDEL', BOUGHT, bought[i])
    end
  end
end
