-- Beat: say on the news channel how far the log has got, so that a subscriber that hears nothing knows that it is deaf.
--
-- KEYS  1 meta  2 log  3 places
-- ARGV  1 a new epoch, should there be none  2 now (RFC 3339)  3 the news channel, or "" to begin the log and say nothing
--       4 PUBLISH or SPUBLISH  5 an epoch for a log of another primary, or "" (there is one only)
-- Returns  the cursor
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
  epoch = ARGV[1]
  redis.call('DEL', KEYS[2], KEYS[3])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'seq', 0, 'floor', 0)
end
-- As in append.lua.
if ARGV[5] ~= '' then
  local info = redis.pcall('INFO', 'replication')
  local primary = type(info) == 'string' and string.match(info, 'master_replid:(%x+)')
  local before = redis.call('HGET', KEYS[1], 'primary')
  if primary and primary ~= before then
    if before then
      epoch = ARGV[5]
      redis.call('DEL', KEYS[2])
      redis.call('HSET', KEYS[1], 'epoch', epoch, 'floor', redis.call('HGET', KEYS[1], 'seq'))
    end
    redis.call('HSET', KEYS[1], 'primary', primary)
  end
end
local cursor = epoch .. '.' .. redis.call('HGET', KEYS[1], 'seq')
if ARGV[3] ~= '' then
  redis.call(ARGV[4], ARGV[3], '{"type":"beat","cursor":"' .. cursor .. '","at":"' .. ARGV[2] .. '"}')
end
return cursor
