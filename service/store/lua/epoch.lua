-- Epoch: the name of the log as it is now, begun anew where there is none, or where its readers may know more than it.
-- Put in front of the scripts that append and beat; it has no KEYS and ARGV of its own.
--
-- fresh  an epoch for a log that there is none of    anew  one for a log of another primary, or "" (there is one only)
local function current_epoch(meta, log, places, fresh, anew)
  local epoch = redis.call('HGET', meta, 'epoch')
  if not epoch then
    -- A log without its epoch is a remnant: nobody's cursor can refer to it, and its places would be others' soon.
    epoch = fresh
    redis.call('DEL', log, places)
    redis.call('HSET', meta, 'epoch', epoch, 'seq', 0, 'floor', 0)
  end
  if anew == '' then return epoch end
  -- Another primary may not have what this log's readers have seen already: the log starts over for them (renew.lua).
  local info = redis.pcall('INFO', 'replication')
  local primary = type(info) == 'string' and string.match(info, 'master_replid:(%x+)')
  local before = redis.call('HGET', meta, 'primary')
  if primary and primary ~= before then
    if before then
      epoch = anew
      redis.call('DEL', log)
      redis.call('HSET', meta, 'epoch', epoch, 'floor', redis.call('HGET', meta, 'seq'))
    end
    redis.call('HSET', meta, 'primary', primary)
  end
  return epoch
end

