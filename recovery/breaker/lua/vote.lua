-- Notes that a process has the breaker open for itself, or has closed it again. Keys and ARGV[1..5]: see circuit.lua.
-- ARGV[6]  the process
-- ARGV[7]  ms for which that counts unless it is said again; 0 withdraws it
-- ARGV[8]  why it opened, in one sentence
-- After the breaker: 1 if this opened it for the fleet.
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', whole(now))
redis.call('ZREMRANGEBYSCORE', KEYS[4], '(' .. whole(now + LONGEST), '+inf')
if ARGV[7] == '0' then
  redis.call('ZREM', KEYS[4], ARGV[6])
  return answer(0)
end
local mode = mode_in_force()
local counting = circuit.state == 'closed' or circuit.stage > 0
if not counting or mode == 'disabled' or mode == 'forced_open' then return answer(0) end
redis.call('ZADD', KEYS[4], whole(now + ARGV[7]), ARGV[6])
redis.call('PEXPIRE', KEYS[4], whole(math.max(ARGV[7] * 2, redis.call('PTTL', KEYS[4]))))
local votes = redis.call('ZCARD', KEYS[4])
if votes < chosen.quorum or mode == 'metrics_only' then return answer(0) end
open(string.format('%d processes opened it, the last: %s', votes, ARGV[8]))
return answer(1)
