-- Claim: take an id for an edition, for ever, unless another has it. Written even if it is taken already, so that a WAIT
-- after it on the same connection covers the claim.
--
-- KEYS  1 the hash of claims
-- ARGV  1 id  2 edition
-- Returns  the edition that has it
local holder = redis.call('HGET', KEYS[1], ARGV[1]) or ARGV[2]
redis.call('HSET', KEYS[1], ARGV[1], holder)
return holder
