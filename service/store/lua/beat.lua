-- Beat: say on the news channel how far the log has got, so that a subscriber that hears nothing knows that it is deaf.
--
-- KEYS  1 meta  2 log  3 places
-- ARGV  1 a new epoch, should there be none  2 now (RFC 3339)  3 the news channel, or "" to begin the log and say nothing
--       4 PUBLISH or SPUBLISH  5 an epoch for a log of another primary, or "" (there is one only)
-- Returns  the cursor
local epoch = current_epoch(KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[5])
local cursor = epoch .. '.' .. redis.call('HGET', KEYS[1], 'seq')
if ARGV[3] ~= '' then
  redis.call(ARGV[4], ARGV[3], '{"type":"beat","cursor":"' .. cursor .. '","at":"' .. ARGV[2] .. '"}')
end
return cursor
