-- INCLUDE: accounts
-- Free units that come into a pool or leave it: they come on hand or leave that too, and that is below nothing where
-- more is owed than held.
local function write_free(change, may_owe)
  local free, on_hand = changed(FREE, change, may_owe), changed(ON_HAND, change, true)
  in_slices('HSET', FREE, free)
  in_slices('HSET', ON_HAND, on_hand)
end
