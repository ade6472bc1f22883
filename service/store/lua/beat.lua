-- Beat: say on the news channel how far the log has got, so that a subscriber that hears nothing knows that it is deaf.
--
-- KEYS  1 meta  2 log  3 places
-- ARGV  1 a new epoch, should there be none  2 now (RFC 3339)  3 the news channel, or "" to begin the log and say nothing
--       4 PUBLISH or SPUBLISH
-- Returns  the cursor
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
  epoch = ARGV[1]
  redis.call('DEL', KEYS[2], KEYS[3])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'seq', 0, 'floor', 0)
end
local cursor = epoch .. '.' .. redis.call('HGET', KEYS[1], 'seq')
if ARGV[3] ~= '' then
  redis.call(ARGV[4], ARGV[3], '{"type":"beat","cursor":"' .. cursor .. '","at":"' .. ARGV[2] .. '"}')
end
return cursor
