-- Accept: write one decided change, or say why not. Nothing is written unless all of it is.
--
-- KEYS  1 items  2 heads  3 versions  4 changed  5 outbox  6 log  7 live  8 places  9 due  10 audit  11 idempotency
--       12 meta
-- ARGV  1 id  2 rev that the decision was made on (0: the id must be free)  3 new rev  4 new version  5 new state
--       6 token of this attempt  7 record  8 step of the history  9 outbox entry, or ""  10 due in ms, or ""
--       11 now in ms  12 audit entry  13 fingerprint of the request, or "" (no Idempotency-Key)  14 its seconds to live
--       15 channel of the clock's alarm  16 how many audit entries to keep  17 how many changes may wait
--       18 SHA-256 of the audit entry, in hex  19 channel of the desks
-- Returns  {"ok"} | {"again", answer}: this request was accepted before | {"reused"}: its key was another request's
--          | {"stale", rev, version, state}: somebody was first  | {"full"}: too many changes wait
local id, token = ARGV[1], ARGV[6]

if ARGV[13] ~= '' then
  local before = redis.call('GET', KEYS[11])
  if before then
    local fingerprint, answer = string.match(before, '^(%S+) (.*)$')
    if fingerprint == ARGV[13] then return {'again', answer} end
    return {'reused'}
  end
end

local head = redis.call('HGET', KEYS[2], id)
local rev, version, state, last = '0', '0', 'none', ''
if head then rev, version, state, last = string.match(head, '^(%S+) (%S+) (%S+) (%S+)$') end
-- The client may have lost our answer and sent the same transaction again.
if last == token then return {'ok'} end
if rev ~= ARGV[2] then return {'stale', rev, version, state} end

-- A kill is accepted however much waits: it makes room.
if ARGV[9] ~= '' and ARGV[5] ~= 'killed' and redis.call('LLEN', KEYS[5]) >= tonumber(ARGV[17]) then return {'full'} end

if ARGV[5] == 'killed' then
  -- Kill wins: the text leaves the log, the ticker, the history and what still waits, before anything else happens.
  for step = 1, tonumber(rev) do redis.call('HDEL', KEYS[3], id .. ':' .. step) end
  redis.call('HDEL', KEYS[7], id)
  -- Redis's append-only file still has the text; the clock sees this and has the file rewritten.
  redis.call('HSET', KEYS[12], 'killed', ARGV[11] .. ' ' .. id)
  local places = redis.call('HGET', KEYS[8], id)
  if places then
    for seq in string.gmatch(places, '%d+') do redis.call('XDEL', KEYS[6], seq .. '-0') end
    redis.call('HDEL', KEYS[8], id)
  end
  for _, waiting in ipairs(redis.call('LRANGE', KEYS[5], 0, -1)) do
    if cjson.decode(waiting).id == id then redis.call('LREM', KEYS[5], 0, waiting) end
  end
end

redis.call('HSET', KEYS[1], id, ARGV[7])
redis.call('HSET', KEYS[2], id, ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. token)
redis.call('HSET', KEYS[3], id .. ':' .. ARGV[3], ARGV[8])
redis.call('ZADD', KEYS[4], ARGV[11], id)
if ARGV[9] ~= '' then
  -- A kill overtakes what waits: nothing that it could be in order with is left.
  redis.call(ARGV[5] == 'killed' and 'LPUSH' or 'RPUSH', KEYS[5], ARGV[9])
end
if ARGV[10] == '' then
  redis.call('ZREM', KEYS[9], id)
else
  redis.call('ZADD', KEYS[9], ARGV[10], id)
  if redis.call('ZRANGE', KEYS[9], 0, 0)[1] == id then redis.call('PUBLISH', ARGV[15], ARGV[10]) end
end
-- Each entry hangs on the one before, so that one that is edited, moved or taken out later shows (store/chain.py).
-- SHA-1 is all that Lua has here. It gets the end of the chain and a SHA-256, both of fixed length: nobody chooses what
-- a SHA-256 is, so the known collisions of SHA-1, which need chosen blocks, are out of reach.
local chain = redis.call('HMGET', KEYS[12], 'audit_head', 'audit_count')
local link = redis.sha1hex((chain[1] or string.rep('0', 40)) .. ARGV[18])
local n = string.format('%d', tonumber(chain[2] or '0') + 1)
redis.call('HSET', KEYS[12], 'audit_head', link, 'audit_count', n)
redis.call('XADD', KEYS[10], 'MAXLEN', '~', ARGV[16], '*', 'entry', ARGV[12], 'n', n, 'link', link)
redis.call('PUBLISH', ARGV[19], id)
if ARGV[13] ~= '' then
  local answer = cjson.encode({id = id, version = tonumber(ARGV[4]), state = ARGV[5], public = ARGV[9] ~= '',
    rev = tonumber(ARGV[3])})
  redis.call('SET', KEYS[11], ARGV[13] .. ' ' .. answer, 'EX', ARGV[14])
end
return {'ok'}
