-- Counts the end of a probe. Keys and ARGV[1..5]: see circuit.lua.
-- ARGV[6]  ok | failed | void
-- ARGV[7]  the permit of the call; 'probe' for a probe by a recovery, which needs none
-- ARGV[8]  the failure, in one sentence
-- After the breaker: 1 if this opened it.
if circuit.state ~= 'half_open' or circuit.stage > 0 then return answer(0) end
if redis.call('ZREM', KEYS[2], ARGV[7]) == 0 and ARGV[7] ~= 'probe' then return answer(0) end
if ARGV[6] == 'ok' then
  prove()
elseif ARGV[6] == 'failed' then
  open(ARGV[8])
  return answer(1)
end
return answer(0)
