-- Lease: keep or take the clock's leadership. Whoever holds it alone releases embargoes and beats.
--
-- KEYS  1 lease
-- ARGV  1 who asks  2 for how many ms (0: give it up)
-- Returns  1 if the asker holds it now, else 0
local holder = redis.call('GET', KEYS[1])
if ARGV[2] == '0' then
  if holder == ARGV[1] then redis.call('DEL', KEYS[1]) end
  return 0
end
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
