-- The server's run: another after every restart and every promotion, and then its data may be older than what it has
-- answered. `run_id` is the process'; `master_replid2` is whose data it went on with when it was last promoted, which
-- tells a process that was made a replica and promoted again. (`master_replid` would do for both, but changes as well
-- when the first replica attaches.) Behind them stands the number of this layout of the stock, so that one of another
-- layout is taken for lost, and rebuilt.
local function server_stamp()
  local info = redis.call('INFO', 'server', 'replication')
  return string.match(info, 'run_id:(%x+)') .. string.match(info, 'master_replid2:(%x+)') .. ':2'
end
