-- Does what an operator says. Keys and ARGV[1..5]: see circuit.lua.
-- ARGV[6]  auto | metrics_only | disabled | forced_open, or `reset`: mode auto, and closed at once
-- ARGV[7]  why
local mode = ARGV[6] == 'reset' and 'auto' or ARGV[6]
local afresh = ARGV[6] == 'reset' or (mode == 'auto' and circuit.mode ~= 'auto') -- what it counted is old by then
circuit.mode, circuit.mode_at, circuit.warned = mode, now, 0
if afresh then close(now, ARGV[7]) else note(now, ARGV[7]) end
return answer()
