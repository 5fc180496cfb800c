-- Changes are added up first and written last, so that an error found on the way leaves nothing half done.
local function add(deltas, field, units)
  deltas[field] = (deltas[field] or 0) + units
end

-- The new values of the changed fields of a hash, as a list of field, value, … A rebuilt stock may owe: what was given
-- back and sold again before anybody had booked the giving back. Nothing else is taken from less than there is, but
-- where `may_owe` says so.
local function changed(key, deltas, may_owe)
  local fields, pairs_ = {}, {}
  for field in pairs(deltas) do fields[#fields + 1] = field end
  local values = hmget(key, fields)
  for i = 1, #fields do
    local delta = deltas[fields[i]]
    local units = tonumber(values[i] or 0) + delta
    if units < 0 and delta < 0 and not may_owe then
      error('CORRUPT less than nothing of ' .. fields[i] .. ' in ' .. key)
    end
    pairs_[2 * i - 1], pairs_[2 * i] = fields[i], units
  end
  return pairs_
end
