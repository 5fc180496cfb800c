-- A hold is: decided_at_ms and due_ms (8 bytes each, big-endian), owner, and "\n" SKU "\n" units for each line.
-- Its owner is `promotion|buyer`, empty for a hold on main. Names have no control characters (streams/messages.py).
local function hold_due_ms(hold)
  return (struct.unpack('>I8', hold, 9))
end

local function hold_owner(hold)
  return string.sub(hold, 17, string.find(hold, '\n', 17, true) - 1)
end

-- Each SKU and its units, as text.
local function hold_lines(hold)
  local from = string.find(hold, '\n', 17, true)
  return string.gmatch(string.sub(hold, from), '\n([^\n]+)\n(%d+)')
end

-- What follows a SKU in the fields of the pool that the units were held in.
local function hold_pool(owner)
  return owner == '' and '|main' or '|promo:' .. string.match(owner, '^[^|]+')
end
