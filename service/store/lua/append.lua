-- Append: move what waits in the outbox into the log, in order, and publish it. Running it twice does nothing twice,
-- because an entry leaves the outbox in the same step that gives it its seq.
--
-- KEYS  1 outbox  2 log  3 meta  4 live  5 places  6 hops
-- ARGV  1 how many at most  2 how many changes the log keeps  3 a new epoch, should there be none
--       4 the news channel  5 PUBLISH or SPUBLISH  6 an epoch for a log of another primary, or "" (there is one only)
--       7 when the wake-up that runs this was queued, in ms, or "-"
-- Returns  {how many still wait, "<seq> <version> <accepted ms> <id>", …}
local epoch = current_epoch(KEYS[3], KEYS[2], KEYS[5], ARGV[3], ARGV[6])
local entries = redis.call('LPOP', KEYS[1], ARGV[1])
if not entries then return {0} end
local seq = tonumber(redis.call('HGET', KEYS[3], 'seq'))
local appended, changes, canary = {0}, {}, nil
local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
for _, waiting in ipairs(entries) do
  local entry = cjson.decode(waiting)
  if entry.kind == 'canary' then canary = string.format('%d', entry.accepted) else changes[#changes + 1] = entry end
end
for _, entry in ipairs(changes) do
  seq = seq + 1
  local cursor = epoch .. '.' .. string.format('%d', seq)
  local frame
  if entry.kind == 'item' then
    frame = '{"type":"item","cursor":"' .. cursor .. '","item":' .. entry.wire .. '}'
    redis.call('HSET', KEYS[4], entry.id, entry.wire)
  else
    frame = '{"type":"remove","cursor":"' .. cursor .. '","id":"' .. entry.id .. '","version":'
      .. string.format('%d', entry.version) .. ',"reason":"' .. entry.reason .. '"}'
    redis.call('HDEL', KEYS[4], entry.id)
  end
  redis.call('XADD', KEYS[2], string.format('%d-0', seq), 'frame', frame)
  local places = redis.call('HGET', KEYS[5], entry.id)
  redis.call('HSET', KEYS[5], entry.id, (places and places .. ',' or '') .. string.format('%d', seq))
  redis.call('HSET', KEYS[6], entry.id .. ':' .. string.format('%d', entry.version),
    string.format('%d %d %s %s', seq, entry.accepted, ARGV[7], now))
  -- The channel alone also says when the change was accepted; what readers get is the frame without it.
  redis.call(ARGV[5], ARGV[4], string.sub(frame, 1, -2) .. ',"accepted":' .. string.format('%d', entry.accepted) .. '}')
  appended[#appended + 1] = string.format('%d %d %d ', seq, entry.version, entry.accepted) .. entry.id
end
redis.call('HSET', KEYS[3], 'seq', string.format('%d', seq))
if canary then
  -- It takes no seq and no place in the log: readers never hear of it.
  redis.call('HSET', KEYS[3], 'canary', canary)
  redis.call(ARGV[5], ARGV[4], '{"type":"canary","cursor":"' .. epoch .. '.' .. string.format('%d', seq)
    .. '","accepted":' .. canary .. '}')
end
local floor = seq - tonumber(ARGV[2])
if floor > tonumber(redis.call('HGET', KEYS[3], 'floor')) then
  redis.call('XTRIM', KEYS[2], 'MINID', string.format('%d-0', floor + 1))
  redis.call('HSET', KEYS[3], 'floor', string.format('%d', floor))
end
appended[1] = redis.call('LLEN', KEYS[1])
return appended
