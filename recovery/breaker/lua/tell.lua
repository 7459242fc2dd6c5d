-- Counts calls that a process made. Keys and ARGV[1..5]: see circuit.lua.
-- ARGV[6]    the last failure, in one sentence
-- ARGV[7..]  batches of calls, see `take` in window.lua
-- After the breaker: 1 if this opened it.
return answer(take(7, ARGV[6]))
