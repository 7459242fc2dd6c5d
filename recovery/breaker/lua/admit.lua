-- Decides about one call. Keys and ARGV[1..2]: see circuit.lua.
-- ARGV[3]  permit: a random name for this call
-- The answer's last two elements: 1 if the call may be made; ms until it is worth asking again.
local circuit, chosen = load(), options()
if circuit.state == 'closed' then return answer(circuit, 1, 0) end
if circuit.state == 'open' then
  if circuit.retry_at_ms > now then return answer(circuit, 0, circuit.retry_at_ms - now) end
  half_open(circuit)
  save(circuit)
  announce(circuit)
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('ZCARD', KEYS[2]) >= chosen.half_open_requests then
  local soonest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
  return answer(circuit, 0, math.max(1, soonest - now))
end
redis.call('ZADD', KEYS[2], whole(now + chosen.permit_timeout), ARGV[3])
redis.call('PEXPIRE', KEYS[2], whole(chosen.permit_timeout * 2))
return answer(circuit, 1, 0)
