-- Decides about one call. Keys and ARGV[1..5]: see circuit.lua.
-- ARGV[6]  permit: a random name for this call
-- ARGV[7]  chance, from 0 up to but not including 1, for a ramp
-- After the breaker: 1 if the call may be made, ms until it is worth asking again, 1 if it holds the permit.
local mode = mode_in_force()
if mode ~= 'auto' then
  if mode ~= 'forced_open' then return answer(1, 0, 0) end
  return answer(0, math.min(chosen.reset_timeout, (circuit.mode_until or math.huge) - now), 0)
end
if circuit.state == 'closed' then return answer(1, 0, 0) end
if circuit.state == 'open' then
  local remaining = math.max(circuit.retry_at or now, circuit.repairing_until or now) - now
  if remaining > 0 then return answer(0, remaining, 0) end
  half_open('a caller came after the open time')
end
if circuit.stage > 0 then
  local allowed = tonumber(ARGV[7]) * 100 < (chosen.ramp and chosen.ramp[circuit.stage] or 100)
  return answer(allowed and 1 or 0, allowed and 0 or math.max(0, circuit.stage_until - now), 0)
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(now))
redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. whole(now + LONGEST), '+inf')
if redis.call('ZCARD', KEYS[2]) >= chosen.half_open_requests then
  local soonest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
  return answer(0, math.max(1, soonest - now), 0)
end
redis.call('ZADD', KEYS[2], whole(now + chosen.permit_timeout), ARGV[6])
redis.call('PEXPIRE', KEYS[2], whole(chosen.permit_timeout * 2))
return answer(1, 0, 1)
