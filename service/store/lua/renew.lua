-- Renew: give the log a new epoch after it went back (an old backup restored, a failover that lost the last writes).
-- Only a process that has seen a later seq of the same epoch asks for it; the log then starts over for everyone.
--
-- KEYS  1 meta  2 log
-- ARGV  1 the epoch that it saw  2 the seq that it saw  3 the new epoch
-- Returns  1 if it was renewed, 0 if there was no need
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch ~= ARGV[1] then return 0 end
local seq = tonumber(redis.call('HGET', KEYS[1], 'seq'))
if seq >= tonumber(ARGV[2]) then return 0 end
-- The frames in the stream name the old epoch: none of them may be replayed.
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'floor', string.format('%d', seq))
return 1
