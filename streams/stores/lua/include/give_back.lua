-- Units of ended holds go back to their pool, or to main once their promotion has closed. The buyer's allowance comes
-- back too, unless the promotion has closed: nobody asks for it any more and `forget_buyers` clears it away.
local free_change, on_hand_change, bought_change = {}, {}, {}

-- Notes what giving one hold back changes; returns its owner and whether the units go to main.
local function give_back(hold)
  local owner = hold_owner(hold)
  local promotion = owner ~= '' and promotion_named(string.match(owner, '^[^|]+'))
  local to_main = promotion and promotion[4] == 1
  local pool, total = hold_pool(owner), 0
  for sku, text in hold_lines(hold) do
    local field, units = sku .. pool, tonumber(text)
    if to_main then
      local main = sku .. '|main'
      add(on_hand_change, field, -units)
      add(on_hand_change, main, units)
      field = main
    end
    add(free_change, field, units)
    total = total + units
  end
  if promotion and not to_main and promotion[3] > 0 then add(bought_change, owner, -total) end
  return owner, to_main
end

local function write_given_back()
  local free, on_hand = changed(FREE, free_change), changed(ON_HAND, on_hand_change, true)
  local bought = changed(BOUGHT, bought_change)
  in_slices('HSET', FREE, free)
  in_slices('HSET', ON_HAND, on_hand)
  for i = 1, #bought, 2 do
    if bought[i + 1] > 0 then
      redis.call('HSET', BOUGHT, bought[i], bought[i + 1])
    else
      redis.call('HDEL', BOUGHT, bought[i])
    end
  end
end
