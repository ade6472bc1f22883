-- Confirm: whether this server has a change that was accepted. It writes a little, so that the WAIT after it on the same
-- connection covers everything before; asked of a new primary it finds out that a failover lost the change.
--
-- KEYS  1 heads  2 versions  3 meta
-- ARGV  1 id  2 rev (0: any)  3 step of the history, or "" (any)
-- Returns  1 if it is there, else 0
local head = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HINCRBY', KEYS[3], 'confirmed', 1)
if not head then return 0 end
local rev, state = string.match(head, '^(%S+) %S+ (%S+) ')
-- A kill takes the history with it, and overtakes everything.
if state == 'killed' then return 1 end
if tonumber(rev) < tonumber(ARGV[2]) then return 0 end
if ARGV[3] ~= '' and redis.call('HGET', KEYS[2], ARGV[1] .. ':' .. ARGV[2]) ~= ARGV[3] then return 0 end
return 1
